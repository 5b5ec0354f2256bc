/** What does a device remember of the workspace that it was paired with? Enough to meet it again, and nothing that opens a session. */
import type { Bytes } from '../protocol/bytes.ts'
import type { DeviceHello } from '../protocol/handshake.ts'
import type { NoiseKeyPair } from '../protocol/noise.ts'

/** A pairing, as the device keeps it. The private key and the place secret are secrets. */
export interface PairedDevice {
  /** The workspace's static public key, which the link has said. */
  readonly daemonKey: Bytes
  /** The device's own static keys. */
  readonly own: NoiseKeyPair
  /** From which both derive the meeting place of each day, 32 bytes. */
  readonly placeSecret: Bytes
  /**
   * How far the workspace's clock is ahead of the device's, in milliseconds, by which the device finds the place of the day. Undefined
   * when it was less than half a day, and in what was kept before this was.
   */
  readonly clockOffset?: number
  /** The relay: `wss://host[:port]`, or `ws://` on a loopback host. */
  readonly relay: string
  /** The host of the workspace, to name in requests. */
  readonly host: string
  /** What is behind the channel: the gateway, or another service. */
  readonly target: 'gateway' | 'service'
  readonly kind: DeviceHello['kind']
  /** The name that the owner sees. */
  readonly name: string
  /** The id by which the owner's commands call the device, 22 characters. */
  readonly id: string
}
