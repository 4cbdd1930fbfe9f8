"""Many networks of one architecture that learn side by side."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap


class Ensemble:
    """Stacked networks, evaluated by one batched product a layer; a `policy` to the objectives.

    The rows of what it is called on are split evenly and in order: with `E` members and `R` rows, member `e`
    sees rows `e R / E` to `(e + 1) R / E`.

    Attributes:
      num_members: `E`.
      parameters: by name. Shapes `[E, ...]`.
      sigma_min: smallest noise level.
      sigma_max: largest noise level.
    """

    def __init__(
        self,
        make_member: Callable[[], nn.Module],
        num_members: int,
        *,
        sigma_min: float,
        sigma_max: float,
        seed: int,
        device: str | torch.device = "cpu",
    ):
        """Builds the members.

        Args:
          make_member: returns a freshly initialised module with the method `denoise` of `Denoiser`.
          num_members: `E`.
          sigma_min: smallest noise level of the members.
          sigma_max: largest noise level.
          seed: of the initial weights.
          device: where they live.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            members = [_Denoise(make_member()) for _ in range(num_members)]
        self.num_members, self.sigma_min, self.sigma_max = num_members, sigma_min, sigma_max
        self._module = members[0].to(device)
        self.parameters, self._buffers = stack_module_state([member.to(device) for member in members])
        self._denoise_members = vmap(self._denoise_member)

    def denoise(self, x_sigma: Tensor, sigma: float | Tensor, observation: Tensor) -> Tensor:
        """Evaluates each member on its rows.

        Args:
          x_sigma: noisy actions. Shape `[R, K, A]`.
          sigma: noise level, one for all or one each. Shape `[R, K]`.
          observation: shape `[R, 1, O]` or `[R, K, O]`.

        Returns:
          Denoised actions. Shape `[R, K, A]`.
        """
        leading = x_sigma.shape[:-1]
        levels = torch.as_tensor(sigma, dtype=x_sigma.dtype, device=x_sigma.device).expand(leading)
        observations = observation.expand(*leading, -1)

        def split(rows: Tensor) -> Tensor:
            return rows.unflatten(0, (self.num_members, -1)).flatten(1, 2)

        denoised: Tensor = self._denoise_members(
            self.parameters, self._buffers, split(x_sigma), split(levels), split(observations)
        )
        return denoised.reshape(x_sigma.shape)

    def one_step(self, observation: Tensor, noise: Tensor) -> Tensor:
        """Maps unit noise to actions by one call. Shapes `[R, 1, O]` or `[R, K, O]`, and `[R, K, A]`."""
        return self.denoise(self.sigma_max * noise, self.sigma_max, observation)

    def averaged_copy(self) -> "Ensemble":
        """Returns a copy that is never differentiated, to hold averaged weights."""
        twin = copy.copy(self)
        twin.parameters = {name: tensor.detach().clone() for name, tensor in self.parameters.items()}
        return twin

    def compiled(self) -> "Ensemble":
        """Returns the same networks, whose calls are compiled once for each of the shapes they come in."""
        twin = copy.copy(self)
        twin._denoise_members = torch.compile(self._denoise_members, dynamic=False)
        return twin

    def _denoise_member(
        self,
        parameters: dict[str, Tensor],
        buffers: dict[str, Tensor],
        x_sigma: Tensor,
        sigma: Tensor,
        observation: Tensor,
    ) -> Tensor:
        output: Tensor = functional_call(self._module, (parameters, buffers), (x_sigma, sigma, observation))
        return output


class _Denoise(nn.Module):
    """Gives `denoise` the name that `functional_call` calls."""

    def __init__(self, member: nn.Module):
        super().__init__()
        self.member = member

    def forward(self, x_sigma: Tensor, sigma: Tensor, observation: Tensor) -> Tensor:
        denoised: Tensor = self.member.denoise(x_sigma, sigma, observation)  # type: ignore[operator]
        return denoised
