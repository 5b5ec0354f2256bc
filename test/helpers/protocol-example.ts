/** What does the example of docs/relay-protocol.md say? It is computed here, from fixed keys; a test holds the page against it. */
import { concat, u16, utf8, type Bytes } from '../../src/relay/protocol/bytes.ts'
import { comparisonCode, deviceId } from '../../src/relay/protocol/handshake.ts'
import { NoiseHandshake } from '../../src/relay/protocol/noise.ts'
import { encodeOffer, offerDigits, offerHash, type Offer } from '../../src/relay/protocol/offer.ts'
import { dayPlaceKey, placeId } from '../../src/relay/protocol/places.ts'
import { encodeRecord, RECORD, setSentMs } from '../../src/relay/protocol/records.ts'
import { keyPairOf, toHex } from './noise-keys.ts'

/** 32 bytes that count up. */
const counting = (from: number): Bytes => Uint8Array.from({ length: 32 }, (_, i) => from + i)

/** Names and values, in the order of the page. */
export async function example(): Promise<Record<string, string>> {
  const device = await keyPairOf(counting(0x00))
  const daemon = await keyPairOf(counting(0x20))
  const deviceOnce = await keyPairOf(counting(0x40))
  const daemonOnce = await keyPairOf(counting(0x60))
  const placeKey = counting(0xa0)
  const offer: Offer = {
    ...{ version: 1, isApproved: false, daemonKey: daemon.publicKey, psk: counting(0x80) },
    ...{ place: await placeId(placeKey), expiresAt: 1_800_000_000 },
    relay: 'wss://relay.example.com',
  }
  const prologue = concat(
    ...[utf8('workspace-gateway relay'), Uint8Array.of(1, 1, 1, 1, 1)],
    ...[offer.place, await offerHash(offer)],
  )
  const common = { pattern: 'IKpsk1', prologue, psk: offer.psk } as const
  const initiator = await NoiseHandshake.begin({
    ...{ ...common, own: device, ephemeral: deviceOnce, responderKey: daemon.publicKey },
  })
  const responder = await NoiseHandshake.begin({ ...common, own: daemon, ephemeral: daemonOnce })
  const name = utf8('Phone')
  const hello = concat(Uint8Array.of(0), u16(name.length), name, new Uint8Array(96 - 3 - 5))
  const first = await initiator.write(hello)
  await responder.read(first)
  const second = await responder.write(utf8(''))
  await initiator.read(second)
  const { fromInitiator, fromResponder, handshakeHash, extraSecret } = await initiator.split()
  const ready = encodeRecord(RECORD.ready, utf8(''))
  setSentMs(ready, 5)
  const ping = encodeRecord(RECORD.ping, utf8(''))
  setSentMs(ping, 30_000)
  const values = {
    "device's static private key": counting(0x00),
    "device's static public key": device.publicKey,
    "device's ephemeral private key": counting(0x40),
    "daemon's static private key": counting(0x20),
    "daemon's ephemeral private key": counting(0x60),
    "key of the offer's place": placeKey,
    offer: encodeOffer(offer),
    prologue,
    "first message, of a page named 'Phone'": first,
    'second message': second,
    'handshake hash': handshakeHash,
    'place secret': extraSecret,
    "device's first record: ready, after 5 ms": await fromInitiator.encrypt(ready),
    "daemon's first record: a ping, after 30 s": await fromResponder.encrypt(ping),
    'key of the place of day 20000': await dayPlaceKey(extraSecret, 20_000),
    'id of the place of day 20000': await placeId(await dayPlaceKey(extraSecret, 20_000)),
  }
  return {
    ...Object.fromEntries(Object.entries(values).map(([key, bytes]) => [key, toHex(bytes)])),
    "the link's digits": offerDigits(offer),
    "device's id": await deviceId(device.publicKey),
    'the six digits to compare': comparisonCode(handshakeHash),
  }
}
