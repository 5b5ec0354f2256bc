/** Who verifies the tokens for a proxy that cannot? A process of Node, which the proxy asks about every request. */
import type { ChildProcess } from 'node:child_process'
import { freePort, startScript, type Side } from '../child.ts'

/** Starts the validator. It belongs to its peer: its processor time and its memory are the peer's. */
export async function startValidator(
  side: Side,
): Promise<{ readonly port: number; readonly validator: ChildProcess }> {
  const port = await freePort()
  const script = new URL('../servers/validator.ts', import.meta.url)
  return { port, validator: startScript(script, [String(port)], { side }) }
}
