"""`python -m paddle_resume` is the console program `paddle-resume`."""

from paddle_resume.cli import main

if __name__ == "__main__":
    main()
