"""The velocity of a planar body's centre of mass, as a function of positions and velocities."""

import mujoco
import numpy as np

_AXES = {"x": np.array([1.0, 0.0, 0.0]), "y": np.array([0.0, 1.0, 0.0]), "z": np.array([0.0, 0.0, 1.0])}


class PlanarVelocity:
    """What a `subtreelinvel` sensor of a planar body says, without the time that MuJoCo takes for it.

    The body slides along x and z, and all its parts turn about y, each in its own hinge. With angle `t_b` and
    angular velocity `w_b` of part `b`, the sums over the hinges between it and the world,

        v = (v_x, v_z) + sum_b w_b (u_bz, -u_bx),   u_b = R(t_b) k_b,

    where `k_b`, fixed in the part, is the share of the mass there at its centre, plus the shares of what
    hangs on each of its hinges at that hinge. Equal to the sensor up to rounding.

    Args:
      model: the model.
      body_name: the root of the body.

    Raises:
      ValueError: if the body is not of that kind.
    """

    def __init__(self, model: mujoco.MjModel, body_name: str):
        root = model.body(body_name).id
        parts = [b for b in range(model.nbody) if model.body_rootid[b] == model.body_rootid[root]]
        if model.body_parentid[root] != 0:
            raise ValueError(f"`body_name` must name a body without a parent, got {body_name!r}")
        hinges: dict[int, int] = {}  # joint of each part
        slides: dict[str, int] = {}
        for joint in range(model.njnt):
            body, kind, axis = model.jnt_bodyid[joint], model.jnt_type[joint], model.jnt_axis[joint]
            if body not in parts:
                continue
            along = next((name for name, unit in _AXES.items() if np.array_equal(axis, unit)), None)
            is_slide = kind == mujoco.mjtJoint.mjJNT_SLIDE and body == root and along in ("x", "z")
            is_hinge = kind == mujoco.mjtJoint.mjJNT_HINGE and along == "y" and body not in hinges
            if not (is_slide or is_hinge) or np.any(model.jnt_pos[joint]):
                name = model.joint(joint).name
                raise ValueError(f"`body_name` must name a planar body, got joint {name!r}")
            if is_slide:
                slides[str(along)] = joint
            else:
                hinges[int(body)] = joint
        is_turned = (model.body_quat[parts] != [1.0, 0.0, 0.0, 0.0]).any()
        if set(slides) != {"x", "z"} or set(hinges) != set(parts) or is_turned:
            raise ValueError(f"`body_name` must name a planar body of one hinge a part, got {body_name!r}")
        self._velocity_columns = [int(model.jnt_dofadr[slides[along]]) for along in ("x", "z")]
        joints = [hinges[part] for part in parts]
        self._angle_columns = model.jnt_qposadr[joints]
        self._rate_columns = model.jnt_dofadr[joints]
        self._reference_angles = model.qpos0[self._angle_columns]
        self._ancestors = np.zeros((len(parts), len(parts)))  # [part, hinge between it and the world]
        share = model.body_mass[parts] / model.body_mass[parts].sum()
        moment = share[:, None] * model.body_ipos[parts][:, [0, 2]]
        for index, part in enumerate(parts):
            self._ancestors[index, index] = 1.0
            if part != root:
                self._ancestors[index] += self._ancestors[parts.index(model.body_parentid[part])]
        share_below = share @ self._ancestors  # of each part and what hangs on it
        for index, part in enumerate(parts):
            if part != root:
                parent = parts.index(model.body_parentid[part])
                moment[parent] += share_below[index] * model.body_pos[part][[0, 2]]
        self._moment = moment

    def __call__(self, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
        """Returns the velocity, whose y is 0. Shapes `[..., nq]`, `[..., nv]` to `[..., 3]`."""
        angle = (qpos[..., self._angle_columns] - self._reference_angles) @ self._ancestors.T
        rate = qvel[..., self._rate_columns] @ self._ancestors.T
        cosine, sine = np.cos(angle), np.sin(angle)
        moment_x, moment_z = self._moment.T
        velocity = np.zeros((*qvel.shape[:-1], 3))
        velocity[..., 0] = np.vecdot(rate, moment_z * cosine - moment_x * sine)
        velocity[..., 2] = -np.vecdot(rate, moment_x * cosine + moment_z * sine)
        velocity[..., [0, 2]] += qvel[..., self._velocity_columns]
        return velocity
