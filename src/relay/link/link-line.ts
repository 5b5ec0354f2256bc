/** How does a connection to the gateway's link socket begin? With one line of JSON that says whose it is. */

/** What is said of a device's connection. */
export interface LinkedDevice {
  /** The id of the device, 22 characters. */
  readonly device: string
  /** The relay through which it came. */
  readonly relay: string
  readonly sub: string
  readonly name: string
}

/** The line of a device's connection. */
export function deviceLine({ device, relay, sub, name }: LinkedDevice): string {
  return `LINK/1 ${JSON.stringify({ kind: 'device', device, relay, sub, name })}\n`
}

/** The line of a connection for requests of the link itself. */
export const OWN_LINE = `LINK/1 ${JSON.stringify({ kind: 'link' })}\n`
