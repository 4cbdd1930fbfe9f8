"""Tasks of the offline experiments."""


def preset_of(task: str) -> str:
    """Returns the task whose settings a task has: itself, for whole replays that of medium-replay.

    The papers have settings for D4RL's datasets, and whole replays are only of our own.

    Args:
      task: such as `hopper_full_replay`.
    """
    return task.replace("full_replay", "medium_replay")
