/** Gates that the test opens. A response that waits at a gate shows that its earlier part was not buffered. */
const opened: Set<string> = ((globalThis as { gates?: Set<string> }).gates ??= new Set())

export function open(gate: string): void {
  opened.add(gate)
}

export async function passed(gate: string): Promise<void> {
  while (!opened.has(gate)) await new Promise((resolve) => setTimeout(resolve, 20))
}
