"""The mathematics of search in numpy: schedules, temperatures, proposals."""
