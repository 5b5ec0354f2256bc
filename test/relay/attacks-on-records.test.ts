/**
 * What becomes of a command when the relay attacks its records? A real device, a real link, and a relay between them that does to one message
 * what a relay can do. Each time the channel ends for both, and the service has got nothing but the beginning of what the device sent.
 */
import t from 'tap'
import { concat, randomBytes, type Bytes } from '../../src/relay/protocol/bytes.ts'
import {
  attackedScene,
  commandBytes,
  toldOf,
  type AttackedDevice,
  type AttackedScene,
} from '../helpers/attacked.ts'
import {
  honest,
  type Delivery,
  type Malice,
  type MaliciousRoom,
  type Passing,
  type Way,
} from '../helpers/malicious-relay.ts'

/** What an attack has to hand. */
interface Means {
  readonly way: Way
  /** The room of the attacked device, in which it has run one command. */
  readonly room: MaliciousRoom
  /** The room of another device of the same owner. */
  readonly other: MaliciousRoom
  /** The room in which the attacked device was before, closed now. */
  readonly before: MaliciousRoom
}

/** What is delivered in place of a message. */
type Act = (passing: Passing, means: Means) => ReadonlyArray<Bytes | Delivery>

/** An attack on the record with a number, from now on. */
type Attack = (means: Means, number: number) => Malice

const opposite = (way: Way): Way => (way === 'up' ? 'down' : 'up')

function flipped(message: Bytes, bit: number): Bytes {
  const changed = message.slice()
  changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7))
  return changed
}

/** Does something to one record. */
function one(act: Act): Attack {
  return (means, number) => {
    let count = 0
    return (passing) =>
      passing.room === means.room && passing.way === means.way && count++ === number
        ? act(passing, means)
        : [passing.message]
  }
}

/** Delivers a record behind the next one. */
const reorder: Attack = ({ way, room }, number) => {
  let count = 0
  let held: Bytes | undefined
  return (passing) => {
    if (passing.room !== room || passing.way !== way) return [passing.message]
    const mine = count++
    if (mine === number) {
      held = passing.message
      return []
    }
    return mine === number + 1 && held !== undefined ? [passing.message, held] : [passing.message]
  }
}

/** Who notices first when the attack is on the device's records. */
type Noticed = 'by the daemon' | 'by the device' | 'by the cut'

const ATTACKS: ReadonlyArray<readonly [title: string, attack: Attack, noticed?: Noticed]> = [
  ['a record that the relay keeps ends the channel', one(() => [])],
  [
    'a record that the relay delivers twice ends the channel',
    one(({ message }) => [message, message]),
  ],
  ['a record that comes behind the next one ends the channel', reorder],
  [
    'a record of before in the place of a later one ends the channel',
    one((_passing, { room, way }) => room.sent[way].slice(1, 2)),
  ],
  [
    'a record of an earlier session ends the channel',
    one((_passing, { before, way }) => before.sent[way].slice(2, 3)),
  ],
  [
    'a record of the channel of another device ends the channel',
    one((_passing, { other, way }) => other.sent[way].slice(-1)),
  ],
  [
    'a record of the other party ends the channel',
    one((_passing, { room, way }) => room.sent[opposite(way)].slice(-1)),
  ],
  [
    'a record that is also sent back to its sender ends the channel',
    one(({ room, way, message }) => [{ room, way: opposite(way), message }, message]),
    'by the device',
  ],
  [
    'a record whose first bit is flipped ends the channel',
    one(({ message }) => [flipped(message, 0)]),
  ],
  [
    'a record with a flipped bit in the middle ends the channel',
    one(({ message }) => [flipped(message, message.length * 4)]),
  ],
  [
    'a record whose last bit is flipped ends the channel',
    one(({ message }) => [flipped(message, message.length * 8 - 1)]),
  ],
  [
    'a record that is a byte shorter ends the channel',
    one(({ message }) => [message.slice(0, -1)]),
  ],
  [
    'a record that is a byte longer ends the channel',
    one(({ message }) => [concat(message, new Uint8Array(1))]),
  ],
  ['a record that becomes empty ends the channel', one(() => [new Uint8Array(0)])],
  [
    'a record that becomes text ends the channel',
    one(({ room, way }) => [{ room, way, message: 'text' }]),
  ],
  [
    'a record that the relay has made ends the channel',
    one(({ message }) => [randomBytes(64), message]),
  ],
  [
    'a relay that closes both connections in the middle of a command is noticed',
    one(({ room }) => {
      room.close()
      return []
    }),
    'by the cut',
  ],
]

type Tap = Parameters<typeof attackedScene>[0]

/** Sends a command under attack. @returns what the device was told */
async function attacked(
  t: Tap,
  scene: AttackedScene,
  device: AttackedDevice,
  malice: Malice,
): Promise<string> {
  const { relay, received } = scene
  const [dialled, rooms, answers] = [received.length, relay.rooms.length, relay.answers]
  relay.malice = malice
  await t.rejects(device.command('/second'), 'the answer does not come whole')
  const told = await toldOf(device)
  t.not(told, '', 'the device is told')
  await scene.closed(device.device)
  relay.malice = honest
  const whole = commandBytes('/second')
  for (const bytes of received.slice(dialled))
    t.ok(whole.startsWith(bytes.toString()), 'the service has the beginning of the command alone')
  t.ok(received.length <= dialled + 1, 'and has it once')
  t.equal(relay.rooms.length, rooms, 'nobody comes again by itself')
  t.equal(relay.answers, answers, 'the link has answered no further handshake')
  return told
}

const TOLD_BY: Readonly<Record<Noticed, RegExp>> = {
  'by the daemon': /^the workspace has closed the connection$/,
  'by the device': /^a message is not the next one of the other party$/,
  'by the cut': /, has cut the connection$/,
}

for (const [title, attack, noticed = 'by the daemon'] of ATTACKS)
  t.test(title, async (t) => {
    const scene = await attackedScene(t)
    const { relay, received } = scene
    const bystander = await scene.pair()
    await scene.first(bystander)
    const other = relay.rooms.at(-1) as MaliciousRoom
    const paired = await scene.pair()
    await scene.first(paired)
    paired.remote.close()
    await scene.closed(paired.device)
    for (const way of ['up', 'down'] as const)
      for (const number of [0, 2]) {
        const before = relay.rooms.at(-1) as MaliciousRoom
        const device = scene.meet(paired.device)
        await device.remote.whenOpen()
        await scene.first(device)
        const { length } = received
        const room = relay.rooms.at(-1) as MaliciousRoom
        const means = { way, room, other, before }
        const told = await attacked(t, scene, device, attack(means, number))
        if (way === 'down') continue
        t.match(told, TOLD_BY[noticed])
        if (number === 0 && noticed === 'by the daemon' && !title.includes('twice'))
          t.equal(received.length, length, 'the service was not dialled')
      }
    t.equal(bystander.remote.state.kind, 'open', 'the other device goes on')
    await scene.first(bystander)
  })
