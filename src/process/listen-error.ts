/** What does an operator read when a socket cannot be opened at the start? One line that names the setting. */

/** The error of an address that cannot be used. Its message names the setting, and the process ends with 69. */
export class ListenError extends Error {}
