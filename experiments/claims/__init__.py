"""What a text on process creation claims, judged by the model and by measurement.

`catalogue` reads the claims (the TOML files beside it), `figures` says what a figure is and where it comes from,
`programs` builds and runs the small programs that measure, `measured` keeps what they found, `judged` makes the
document and its text.
"""
