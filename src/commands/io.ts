/** What does a command need of the process? Two places to write to. */
export interface Io {
  /** Writes to standard output. */
  out(text: string): void
  /** Writes to standard error. */
  err(text: string): void
}
