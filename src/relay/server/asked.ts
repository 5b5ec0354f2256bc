/** Which of its few things is the relay asked for? The path alone says so; a path with anything more is none of them. */
import { fromBase64Url } from '../protocol/bytes.ts'
import { PLACE_ID_LENGTH } from '../protocol/places.ts'
import { CONTROL_PATH, DEVICE_PREFIX, SEAT_PREFIX, TICKET_LENGTH } from '../protocol/relay-wire.ts'

/** The path at which a supervisor or load balancer asks whether the relay takes connections. */
const HEALTH_PATH = '/healthz'

/** What a request asks for. Places and tickets are in base64url, in the one spelling that stands for their bytes. */
export type Asked =
  | { readonly kind: 'health' }
  | { readonly kind: 'daemon' }
  | { readonly kind: 'device'; readonly place: string }
  | { readonly kind: 'seat'; readonly place: string; readonly ticket: string }

/** Reads a request target; undefined when it is none of the relay's. */
export function readTarget(target: string): Asked | undefined {
  if (target === HEALTH_PATH) return { kind: 'health' }
  if (target === CONTROL_PATH) return { kind: 'daemon' }
  if (target.startsWith(DEVICE_PREFIX)) {
    const place = target.slice(DEVICE_PREFIX.length)
    return isBytes(place, PLACE_ID_LENGTH) ? { kind: 'device', place } : undefined
  }
  if (!target.startsWith(SEAT_PREFIX)) return undefined
  const [place = '', ticket = '', ...more] = target.slice(SEAT_PREFIX.length).split('/', 3)
  return more.length === 0 && isBytes(place, PLACE_ID_LENGTH) && isBytes(ticket, TICKET_LENGTH)
    ? { kind: 'seat', place, ticket }
    : undefined
}

/** Whether a text is base64url for so many bytes. The length is looked at first, so a long text costs nothing. */
function isBytes(text: string, length: number): boolean {
  return text.length === Math.ceil((length * 4) / 3) && fromBase64Url(text)?.length === length
}
