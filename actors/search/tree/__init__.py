"""Tree search over sampled continuous actions, batched over roots.

The engine (`engine`), the scores (`scores`), the order of simulations (`schedule`) and the named searches
(`gumbel_muzero`, `muzero`) stand apart, as in mctx, whose trees the searches reproduce node by node.
"""
