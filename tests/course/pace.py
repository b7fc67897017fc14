"""How long the grader waits in these tests, as a factor on its limits."""
BRIEF = 0.05     # half a second of processor time: for what never ends
PATIENT = 30     # for all that ends by itself: a slow or busy machine is no mistake of a submission's
