/** What does a command need from the process? Standard output and standard error. */
export interface Io {
  /** Writes to standard output. */
  out(text: string): void
  /** Writes to standard error. */
  err(text: string): void
}
