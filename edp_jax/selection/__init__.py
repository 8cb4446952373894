"""Which policy to take where nothing can be tried: estimates from recorded data alone.

`episodes` divides the data, `pool` lists the policies of runs and samples their actions, `fqe` and
`signs` judge them, `ranking` says what follows, and `judge` how right such rankings were.
"""
