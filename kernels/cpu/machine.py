"""Facts about this machine that kernels are steered by; none of them changes a result."""

from pathlib import Path

ASSUMED = 32 << 20  # bytes, where the operating system does not tell


def last_level_cache():
    """Bytes of the largest cache of the first core."""
    sizes = [ASSUMED]
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        try:
            text = path.read_text().strip()
            sizes.append(int(text[:-1]) << {"K": 10, "M": 20, "G": 30}[text[-1]])
        except (OSError, ValueError, KeyError):
            continue
    return max(sizes[1:], default=ASSUMED)
