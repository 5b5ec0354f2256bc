/** What does a relay learn that has recorded everything and later gets both static keys? The first message's payload, and no record. */
import t from 'tap'
import { randomBytes, utf8, type Bytes } from '../../../src/relay/protocol/bytes.ts'
import { Channel } from '../../../src/relay/protocol/channel.ts'
import { NoiseHandshake, type NoiseKeyPair } from '../../../src/relay/protocol/noise.ts'
import { RECORD } from '../../../src/relay/protocol/records.ts'
import { attack, type Leaked, type Recorded } from '../../helpers/leaked-keys.ts'
import { keyPairOf } from '../../helpers/noise-keys.ts'
import { eventually } from '../../helpers/waiting.ts'

/** A session, recorded, and all of its private keys. */
async function recordedSession() {
  const [device, daemon, deviceOnce, daemonOnce] = [32, 32, 32, 32].map(randomBytes) as [
    Leaked,
    Leaked,
    Leaked,
    Leaked,
  ]
  const prologue = utf8('a prologue, which the relay knows')
  const keys = await Promise.all([device, daemon, deviceOnce, daemonOnce].map(keyPairOf))
  const [own, theirs, once, theirOnce] = keys as [
    NoiseKeyPair,
    NoiseKeyPair,
    NoiseKeyPair,
    NoiseKeyPair,
  ]
  const initiator = await NoiseHandshake.begin({
    ...{ pattern: 'IK', prologue, own, ephemeral: once, responderKey: theirs.publicKey },
  })
  const responder = await NoiseHandshake.begin({
    ...{ pattern: 'IK', prologue, own: theirs, ephemeral: theirOnce },
  })
  const first = await initiator.write(utf8('Phone'))
  await responder.read(first)
  const second = await responder.write(utf8(''))
  await initiator.read(second)
  const [up, down]: [Bytes[], Bytes[]] = [[], []]
  const endings = { theirKey: own.publicKey }
  const channels: Channel[] = []
  const party = async (side: 'device' | 'daemon', handshake: NoiseHandshake, sent: Bytes[]) =>
    new Channel({
      side,
      met: { ...(await handshake.split()), ...endings },
      link: {
        send: (frame) => {
          sent.push(frame.slice())
          channels[side === 'device' ? 1 : 0]?.receive(frame)
        },
        close: () => {},
      },
      events: { onRecord: () => {}, onEnd: () => {} },
    })
  channels[1] = await party('daemon', responder, down)
  channels[0] = await party('device', initiator, up)
  await eventually(() => channels[1]?.isOpen === true, 'both have met')
  await channels[0].send(RECORD.data, utf8('echo hello'))
  await channels[1].send(RECORD.data, utf8('hello'))
  const recorded: Recorded = { prologue, daemonKey: theirs.publicKey, first, second, up, down }
  return { recorded, keys: { device, daemon, deviceOnce, daemonOnce } }
}

t.test('recorded traffic stays closed when both static keys leak', async (t) => {
  const { recorded, keys } = await recordedSession()
  const { device, daemon, deviceOnce } = keys
  const { payload, records, tried } = attack(recorded, { device, daemon })
  t.equal(
    payload,
    'Phone',
    "the device's name can be read with the daemon's key, which docs/relay-protocol.md says",
  )
  t.same(records, [])
  t.ok((tried ?? 0) > 20)
  t.same(attack(recorded, { daemon }).records, [])
  t.same(attack(recorded, { daemon: device }), { payload: undefined, records: [] })
  // With a key of the session itself, which no party keeps, the same attacker reads everything: so the attack is a right one.
  const all = attack(recorded, { device, daemon, deviceOnce }).records
  t.equal(all.length, recorded.up.length + recorded.down.length)
  for (const text of ['echo hello', 'hello']) {
    const [start, body] = [Buffer.of(RECORD.data, 0, text.length), Buffer.from(text)]
    t.ok(
      all.some((record) => {
        const bytes = Buffer.from(record)
        return bytes.indexOf(start) === 0 && bytes.indexOf(body) === start.length + 4
      }),
    )
  }
})
