/**
 * Where do daemon and device meet? At a place of the relay whose id is the hash of its key. The daemon alone shows the key, so that
 * whoever has seen an id, or a link, cannot sit down in its place.
 */
import { concat, sha256, u32, utf8, type Bytes } from './bytes.ts'

/** Bytes of the id of a place. */
export const PLACE_ID_LENGTH = 16

/** Bytes of the key of a place. */
export const PLACE_KEY_LENGTH = 32

const DAY_MS = 86_400_000

/** The id of the place with this key. */
export async function placeId(key: Bytes): Promise<Bytes> {
  return (await sha256(utf8('workspace-gateway meeting place'), key)).slice(0, PLACE_ID_LENGTH)
}

/** The number of a day, by which the places of a paired device change. @param now in milliseconds since 1970 */
export function dayOf(now: number): number {
  return Math.floor(now / DAY_MS)
}

/**
 * The key of a paired device's place on one day.
 * @param secret the extra secret of the handshake by which the device was paired
 */
export async function dayPlaceKey(secret: Bytes, day: number): Promise<Bytes> {
  const { subtle } = crypto
  const material = await subtle.importKey('raw', secret, 'HKDF', false, ['deriveBits'])
  const info = concat(utf8('workspace-gateway place of the day'), u32(day))
  const salt = new Uint8Array(32)
  const bits = await subtle.deriveBits(
    { name: 'HKDF', hash: 'SHA-256', salt, info },
    material,
    PLACE_KEY_LENGTH * 8,
  )
  return new Uint8Array(bits)
}
