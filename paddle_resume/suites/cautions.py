"""What a wrapped program is told that may not go on exactly."""

TRACED = (
    "It trains by programs that paddle.jit.to_static has traced. A new process traces them anew when it first calls "
    "them: what the traced code decided by numbers of Python's, such as the epoch, may be decided otherwise then, and "
    "the run would not be the one that nobody interrupted."
)
UNKNOWN_GENERATOR = (
    "On a CPU Paddle 2.6 does not give its generator away: what draws from it, such as dropout, comes "
    "out otherwise after a resume, which needs --allow-inexact. Paddle 3 can be gone on with exactly."
)
