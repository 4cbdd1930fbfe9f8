"""Acting: simulators, improvement operators, and the actors that run them."""
