/** How does a paired device get the session by which the gateway knows its owner? With one request on a connection of its own. */

/** The path of that request, a POST. It exists on connections of devices alone. */
export const DEVICE_SESSION = '/_gateway/device-session'

/** The body of the answer. */
export interface DeviceSessionAnswer {
  /** A workspace token that is good on connections of this device alone. */
  readonly token: string
  /** When the session ends, in ISO 8601. */
  readonly endsAt: string
  /** Whose session it is. */
  readonly sub: string
}
