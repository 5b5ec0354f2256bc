/** Doors that are shut until somebody opens them: what waits for one shows that what came before it was not held back. */
const opened: Set<string> = ((globalThis as { gates?: Set<string> }).gates ??= new Set())

export function open(gate: string): void {
  opened.add(gate)
}

export async function passed(gate: string): Promise<void> {
  while (!opened.has(gate)) await new Promise((resolve) => setTimeout(resolve, 20))
}
