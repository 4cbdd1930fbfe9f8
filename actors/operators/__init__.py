"""Named improvement operators: state in, reference set out."""
