"""Is the robustness real? Two plain torch networks on digits: torchvision's ResNet-18, and one with dropout left on."""

import torch
from torch import nn
from torchvision.models import resnet18

import sslkuramoto as sk
from sslkuramoto.data import DATA


def trained(network: nn.Module, images: torch.Tensor, labels: torch.Tensor, epochs: int) -> nn.Module:
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    for rows in (rows for _ in range(epochs) for rows in torch.randperm(len(images)).split(64)):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images[rows]), labels[rows]).backward()
        optimizer.step()
    return network.eval()


def main(epochs: int = 8, count: int = 64, **options: object) -> dict[str, sk.Measured]:
    torch.manual_seed(0)
    train, test = (DATA.build("digits", {}, split) for split in ("train", "test"))
    (x, y), (images, labels) = ((part.images.float() / 255, part.labels) for part in (train, test))
    layers = (nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(1024, 10))
    networks = {"resnet18": trained(resnet18(num_classes=10), x, y, epochs)}
    networks["dropout left on"] = trained(nn.Sequential(*layers), x, y, epochs)
    layers[2].train()  # the network itself is in eval mode, this part of it is not
    found = {}
    for name, network in networks.items():
        found[name] = sk.audit(network, images[:count], labels[:count], eps=0.1, options=options)
        print(f"{name}: {found[name].details['audit']['verdict']}")
    return found


if __name__ == "__main__":
    main()
