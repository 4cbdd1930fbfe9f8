"""The exceptions by which environments report that their physics has failed."""

import mujoco
from dm_control.rl.control import PhysicsError

PHYSICS_ERRORS: tuple[type[Exception], ...] = (PhysicsError, mujoco.FatalError)
"""A bad simulation state (dm_control), an abort of the engine (MuJoCo). Anything else is a plain bug."""
