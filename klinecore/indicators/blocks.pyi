__all__ = ["INSTRUCTIONS", "use_instructions"]

INSTRUCTIONS: tuple[str, ...]

def use_instructions(name: str) -> None: ...
