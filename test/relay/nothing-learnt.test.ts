/** What does a relay learn? Its memory, its log, and all that passed through it are searched for what it must not have. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { writePairing } from '../../src/commands/remote/pairing-file.ts'
import type { PairedDevice } from '../../src/relay/client/paired-device.ts'
import {
  concat,
  fromBase64Url,
  toBase64Url,
  u16,
  utf8,
  type Bytes,
} from '../../src/relay/protocol/bytes.ts'
import { generateKeyPair } from '../../src/relay/protocol/noise.ts'
import type { Offer } from '../../src/relay/protocol/offer.ts'
import { dayOf, dayPlaceKey, placeId } from '../../src/relay/protocol/places.ts'
import { attack, type Recorded } from '../helpers/leaked-keys.ts'
import { MaliciousRelay, type MaliciousRoom } from '../helpers/malicious-relay.ts'
import { foundInMemory } from '../helpers/process-memory.ts'
import { run, temporaryFolder } from '../helpers/process.ts'
import { startReached } from '../helpers/reached.ts'
import { Peer } from '../helpers/relay.ts'
import { watch } from '../helpers/remote-device.ts'
import { eventually, until } from '../helpers/waiting.ts'

/** Words of ours that nothing else says: a name, and what goes up and down. */
const NAME = 'Zoraida’s pocket telephone'
const ASKED = 'plaintext-that-was-asked'
const ANSWERED = 'plaintext-that-was-answered'

type Reached = Awaited<ReturnType<typeof startReached>>

/** Pairs a device with a key that can be read, and lets it ask and be answered, before and after it comes again. */
async function useDevice(t: Test, { offer, services }: Reached) {
  services.dashboard.server.removeAllListeners('request')
  services.dashboard.server.on('request', (_request, response) => response.end(ANSWERED))
  const made = await offer()
  const own = await generateKeyPair(true)
  const first = watch(t, { offer: made, own, kind: 'command', name: NAME })
  await first.remote.whenOpen()
  const [device] = first.paired
  if (device === undefined) throw new Error('it was paired')
  const asking = { method: 'POST', path: `/${ASKED}`, body: ASKED }
  t.equal(await (await first.remote.fetch(asking)).text(), ANSWERED)
  first.remote.close()
  const again = watch(t, device)
  await again.remote.whenOpen()
  const answer = await again.remote.fetch(asking)
  t.equal(await answer.text(), ANSWERED)
  return { made, device, again }
}

/** The private key of a pair, 32 bytes. */
async function privateBytes(key: CryptoKey): Promise<Buffer> {
  return Buffer.from(await crypto.subtle.exportKey('pkcs8', key)).subarray(-32)
}

/** The keys in a file of the link or of `remote`. */
function keysIn(file: string): { publicKey: Bytes; privateKey: Bytes } {
  const fields = JSON.parse(readFileSync(file, 'utf8')) as Record<string, string>
  const publicKey = fromBase64Url(fields['publicKey'] ?? '')
  const pkcs8 = fromBase64Url(fields['privateKey'] ?? '')
  if (publicKey === undefined || pkcs8 === undefined) throw new Error('the file has other fields')
  return { publicKey, privateKey: pkcs8.slice(-32) }
}

/** What no relay must have: bytes, and every spelling of them that could be searched for. */
async function secretsOf(made: Offer, device: PairedDevice, stateDir: string) {
  const daemon = keysIn(join(stateDir, 'daemon-keypair.json'))
  const bytes: Record<string, Uint8Array> = {
    'the psk': made.psk,
    'the daemon’s public key': daemon.publicKey,
    'the daemon’s private key': daemon.privateKey,
    'the device’s public key': device.own.publicKey,
    'the device’s private key': await privateBytes(device.own.privateKey),
    'the place secret': device.placeSecret,
    'the name of the device': utf8(NAME),
    'what was asked': utf8(ASKED),
    'what was answered': utf8(ANSWERED),
    'a request': utf8(' HTTP/1.1\r\nHost: houston'),
    'a session': utf8('eyJhbGciOiJIUzI1NiIs'),
  }
  return bytes
}

/** Bytes and their spellings, which is how a text or a log would have them. */
function spelled(
  all: Record<string, Uint8Array>,
  spellings: readonly BufferEncoding[] = ['hex', 'base64', 'base64url'],
): Map<string, Buffer> {
  const rows = Object.entries(all).flatMap(([name, each]) => {
    const bytes = Buffer.from(each)
    const texts = spellings.map((spelling): [string, Buffer] => [
      `${name} (${spelling})`,
      // Without the last characters, which depend on what follows.
      Buffer.from(bytes.toString(spelling).replace(/=*$/, '').slice(0, -2)),
    ])
    texts.push([name, bytes])
    return texts
  })
  return new Map(rows)
}

t.test('the memory and the log of a relay have no key, name, psk or plaintext', async (t) => {
  const relay = run(t, ['relay'], {
    ...{ RELAY_HOST: '127.0.0.1', RELAY_PORT: '0', GATEWAY_LOG_LEVEL: 'trace' },
  })
  const port = Number((await relay.logged('relaying'))['port'])
  const url = `ws://127.0.0.1:${port}`
  const reached = await startReached(t, {
    relay: url,
    sits: (place) =>
      until('the relay has the place', async () => {
        const knock = await new Peer(`${url}/v1/place/${toBase64Url(place)}`).open()
        let isHeld = false
        knock.socket.once('pong', () => {
          isHeld = true
        })
        knock.socket.ping()
        await eventually(() => isHeld || knock.socket.readyState > 1, 'the relay answers')
        knock.socket.terminate()
        return isHeld
      }),
  })
  const { made, device } = await useDevice(t, reached)
  const key = await dayPlaceKey(device.placeSecret, dayOf(reached.link.clock.now()))
  const known = new Map([['the id of the place', Buffer.from(toBase64Url(await placeId(key)))]])
  t.equal(foundInMemory(relay.pid, known).size, 1, 'what the relay does know is found')
  const secrets = await secretsOf(made, device, reached.link.config.stateDir)
  t.same([...foundInMemory(relay.pid, spelled(secrets, ['base64url']))], [])
  const written = Buffer.from(relay.stdout() + relay.stderr())
  t.match(written.toString(), 'relaying')
  for (const [name, bytes] of [...spelled(secrets), ...known])
    t.notOk(written.includes(bytes), name)
  // The same search finds all of it where it is: in this process, which is the link and the device.
  const names = ['the psk', 'the place secret', 'what was asked', 'a session']
  const some = new Map(names.map((name) => [name, Buffer.from(secrets[name] ?? [])]))
  t.equal(foundInMemory(process.pid, some).size, names.length)
})

t.test('all that passes through a relay has no key, name, psk or plaintext', async (t) => {
  const relay = await MaliciousRelay.start(t)
  const reached = await startReached(t, {
    ...{ relay: relay.url, sits: (place) => relay.sits(place) },
  })
  const { made, device } = await useDevice(t, reached)
  const frames = relay.rooms.flatMap(({ sent }) => [...sent.up, ...sent.down])
  const passed = Buffer.concat([...frames, ...relay.control])
  t.ok(frames.length > 20)
  const secrets = await secretsOf(made, device, reached.link.config.stateDir)
  for (const [name, bytes] of spelled(secrets)) t.notOk(passed.includes(bytes), name)
  // Records have six sizes, and the two messages of a handshake one each: a name or a path of another length changes nothing.
  const sizes = new Set(frames.map(({ length }) => length))
  t.same(
    [...sizes].filter((size) => ![192, 48, 64, 256, 1024, 4096, 16_384, 65_535].includes(size)),
    [],
  )
})

/** What everybody knows who has read docs/relay-protocol.md: what both parties mix into a handshake of a paired device. */
function prologueAt(place: string): Bytes {
  const id = fromBase64Url(place) ?? new Uint8Array()
  return concat(
    utf8('workspace-gateway relay'),
    Uint8Array.of(1, 1, 1, 1, 2),
    id,
    new Uint8Array(32),
  )
}

t.test('recorded traffic stays closed when the keys in both parties’ files leak', async (t) => {
  const relay = await MaliciousRelay.start(t)
  const reached = await startReached(t, {
    ...{ relay: relay.url, sits: (place) => relay.sits(place) },
  })
  const { device } = await useDevice(t, reached)
  const { place, sent } = relay.rooms.at(-1) as MaliciousRoom
  // The device's record on the disk of `remote`.
  const file = join(temporaryFolder(t), 'remote.json')
  await writePairing(
    file,
    device,
    new Uint8Array(await crypto.subtle.exportKey('pkcs8', device.own.privateKey)),
  )
  const stolen = keysIn(file)
  const leaked = {
    daemon: keysIn(join(reached.link.config.stateDir, 'daemon-keypair.json')).privateKey,
    device: stolen.privateKey,
  }
  const [first = new Uint8Array(), ...up] = sent.up
  const [second = new Uint8Array(), ...down] = sent.down
  const recorded: Recorded = {
    ...{ prologue: prologueAt(place), daemonKey: device.daemonKey, first, second, up, down },
  }
  const { payload = '', records, tried } = attack(recorded, leaked)
  const hello = Buffer.from(concat(Uint8Array.of(1), u16(utf8(NAME).length), utf8(NAME)))
  t.ok(payload.startsWith(hello.toString()), 'the name of the device is open, as the pages say')
  t.ok(up.length > 3 && down.length > 3 && (tried ?? 0) > 20)
  t.same(records, [], 'and no record is')
})
