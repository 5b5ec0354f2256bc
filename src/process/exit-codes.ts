/** How does the command say how it ended? Exit codes, after sysexits.h where it has one. */

/** Exit codes of every command, of the gateway itself and of the embedded workspace. */
export const EXIT = { ok: 0, failed: 1, usage: 64, unavailable: 69, config: 78 } as const
