"""Images: a source of the registry yields the :class:`ImageSet` of a split, ``batches`` reads it in a given order."""

from sslkuramoto.data.images.cifar import cifar10, cifar100
from sslkuramoto.data.images.digits import digits
from sslkuramoto.data.images.image_folder import image_folder
from sslkuramoto.data.images.image_set import Batch, ImageSet, batches
from sslkuramoto.data.images.timm_datasets import timm_dataset
from sslkuramoto.data.images.tiny_imagenet import tiny_imagenet
from sslkuramoto.data.order import in_order, shuffled
from sslkuramoto.registry import Registry

__all__ = ["DATA", "Batch", "ImageSet", "batches", "in_order", "shuffled"]

DATA: Registry[ImageSet] = Registry("data", "sslkuramoto.data")
DATA.add("digits", digits)
DATA.add("cifar10", cifar10)
DATA.add("cifar100", cifar100)
DATA.add("tiny_imagenet", tiny_imagenet)
DATA.add("image_folder", image_folder)
DATA.add("timm", timm_dataset)
