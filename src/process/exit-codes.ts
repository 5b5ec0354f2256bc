/** Which exit codes does the command have? The ones of sysexits.h, where it has a fitting one. */

/** The exit codes of every command, of the gateway and of the embedded workspace. */
export const EXIT = { ok: 0, failed: 1, usage: 64, unavailable: 69, config: 78 } as const
