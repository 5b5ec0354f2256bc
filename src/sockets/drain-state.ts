/** Does the gateway drain? One object holds the answer, because stages, routes and open WebSockets depend on it. */
import { RESTARTING } from '../answers/close-reasons.ts'
import type { OpenSockets } from './open-sockets.ts'

/** Whether the gateway serves on, drains, or has been replaced. */
export class DrainState {
  readonly #openSockets: OpenSockets
  #isDraining = false
  #isReplaced = false

  constructor(openSockets: OpenSockets) {
    this.#openSockets = openSockets
  }

  /** Whether the gateway stops and nothing takes its place: probes get 503, new WebSockets are refused. */
  get isDraining(): boolean {
    return this.#isDraining
  }

  /** Whether a successor listens on the same port: new WebSockets end with 1012, and nothing is refused. */
  get isReplaced(): boolean {
    return this.#isReplaced
  }

  /** Whether each response is the last one of its connection, because the process is about to end. */
  get endsConnections(): boolean {
    return this.#isDraining || this.#isReplaced
  }

  /** Begins to stop, and closes every WebSocket with 1012. @param replaced whether a successor listens on the same port */
  begin(replaced = false): void {
    if (replaced) this.#isReplaced = true
    else this.#isDraining = true
    this.#openSockets.close(RESTARTING)
  }
}
