"""Ascent over the initial oscillators of a network, alone or together with the image.

The attacker chooses the state from which the network starts, within a ball around a given state. This threat is
stronger than that of the other attacks, which only choose the image. The states move on their spheres or circles: a
step along the tangent part of the gradient, then back into the ball.

Shapes: b batch, c channels, h w grid, y x pixels, q classes.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sslkuramoto.attacks.apgd import reach
from sslkuramoto.attacks.losses import Loss, per_image
from sslkuramoto.attacks.pgd import step_sizes
from sslkuramoto.classifier import Classifier
from sslkuramoto.dynamics.state_space import Circles, Spheres, StateSpace
from sslkuramoto.encoders.features import Encoder
from sslkuramoto.errors import UserError
from sslkuramoto.threat import MisbehavedError, Threat

LONGEST = 0.5  # first step of an oscillator, radians
SLACK = 1e-3  # radians: angles are computed in float32


def state_space_of(encoder: Encoder) -> StateSpace:
    """Return where the initial oscillators of an encoder lie.

    Raises:
        UserError: it draws none, or they lie on no sphere and no circle.
    """
    if not encoder.stochastic:
        raise UserError("worst_state needs a network that draws its initial oscillators; this one is deterministic")
    if encoder.normalises_initial and (encoder.oscillator_dim or 0) > 1:
        return Spheres(encoder.oscillator_dim or 0)
    if encoder.initial_scale:
        return Circles(encoder.initial_scale)
    raise UserError("worst_state needs initial oscillators on spheres or circles; the noise of this network is neither")


def worst_state(
    classifier: Classifier,
    images: Float[Tensor, "b 3 y x"],
    labels: Int64[Tensor, " b"],
    states: Float[Tensor, "b c h w"],
    *,
    radius: float,
    threat: Threat,
    iterations: int,
    loss: Loss,
) -> tuple[Float[Tensor, "b 3 y x"], Float[Tensor, "b c h w"]]:
    """Return the strongest images and initial states of one ascent; the given ones count among them.

    Steps follow the gradient and shorten along half a cosine: those of images from eps, those of oscillators from half
    the radius, at most ``LONGEST``, unless so many steps would not cross the ball.

    Args:
        classifier: with frozen parameters, of an encoder whose initial oscillators have a :class:`StateSpace`.
        images: centres of the balls of images.
        labels: true classes.
        states: initial field of each image, as the encoder takes it: centres of the balls of states.
        radius: of these, in radians of each oscillator; 0 leaves the states alone, pi lets them be anywhere.
        threat: of the images; eps 0 leaves them alone.
        iterations: number of steps.
        loss: what is maximised.

    Raises:
        UserError: the network has no such oscillators.
        MisbehavedError: a state left its ball (a fault of ours).
    """
    space = state_space_of(classifier.encoder)
    if radius == 0 and threat.eps == 0:
        return images.clone(), states.clone()
    centres = space.start(states)
    pixels, place, field = images, centres, states
    best_pixels, best_field = images.clone(), states.clone()
    strongest = images.new_full((len(images),), -torch.inf)
    first = max(min(radius / 2, LONGEST), 2 * radius / iterations)  # together the steps reach across the ball
    for size in [*step_sizes("cosine", 1.0, iterations), None]:
        with torch.set_grad_enabled(size is not None):
            leaves = [part.detach().requires_grad_(size is not None) for part in (pixels, field)]
            logits = classifier(leaves[0], initial=leaves[1])
            value = per_image(loss, logits, labels).sum()
        wrong_by = per_image("log_margin", logits.detach(), labels).nan_to_num(nan=-torch.inf)
        better = wrong_by > strongest
        strongest[better], best_pixels[better], best_field[better] = wrong_by[better], pixels[better], field[better]
        if size is None:
            break
        found = torch.autograd.grad(value, leaves, materialize_grads=True, allow_unused=True)
        of_pixels, of_states = (gradient.nan_to_num() for gradient in found)
        if threat.eps > 0:
            pixels = threat.project(pixels + size * reach(threat, images) * threat.steepest(of_pixels), images)
        if radius > 0:
            moved = space.moved(place, of_states, size * first)
            field = place = space.within(moved, centres, radius)
    if float(space.angles(space.start(best_field), centres).max()) > radius + SLACK:
        raise MisbehavedError(f"worst_state: a state left its ball of {radius:.4g} radians")
    return best_pixels, best_field
