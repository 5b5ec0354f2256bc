/** What may the owner ask of the link, and what is refused? Each refusal is a problem document, and changes nothing. */
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { offerOfLink } from '../../../src/relay/protocol/offer.ts'
import { LINK_ERRORS } from '../../../src/relay/link/owner-errors.ts'
import { OWNER_PATHS } from '../../../src/relay/link/owner-protocol.ts'
import { askDoor } from '../../../src/services/ask-door.ts'
import {
  arrive,
  connected,
  linkFor,
  pairedDevice,
  targetFor,
  TestDevice,
} from '../../helpers/link.ts'
import { relayFor } from '../../helpers/relay.ts'
import { until } from '../../helpers/waiting.ts'

async function scene(t: Test) {
  const relay = await relayFor(t)
  const target = await targetFor(t)
  const link = await linkFor(t, relay.url, { LINK_TARGET: target.url })
  await connected(link)
  return { relay, target, link }
}

t.test('the door is for its user alone, and says how the link is', async (t) => {
  const { link, relay } = await scene(t)
  t.equal(statSync(link.config.ownerSocket).mode & 0o777, 0o600)
  await link.offer()
  const { version, since, ...status } = await link.status()
  t.same(status, {
    ...{
      relay: relay.url,
      isConnected: true,
      problem: null,
      target: 'service',
      devices: 0,
      offers: 1,
    },
  })
  t.match(version, /^\d/)
  t.equal(since, '2026-11-29T12:00:00.000Z')
})

t.test('what the owner’s door does not know or take is refused', async (t) => {
  const { link, target } = await scene(t)
  await pairedDevice(t, await link.offer())
  const [{ id } = { id: '' }] = await link.devices()
  const before = await link.devices()
  const none = 'A'.repeat(22)
  const rows: Array<
    [method: 'GET' | 'POST' | 'DELETE', path: string, body: object | undefined, code: string]
  > = [
    ['GET', '/', undefined, 'not-found'],
    ['POST', '/v1/status', {}, 'not-found'],
    ['GET', '/v1/devices?x', undefined, 'not-found'],
    ['GET', `/v1/devices/${id}`, undefined, 'not-found'],
    ['POST', `/v1/devices/${id}/toString`, {}, 'not-found'],
    ['DELETE', '/v1/devices/short', undefined, 'bad-request'],
    ['GET', '/v1/offers', undefined, 'not-found'],
    ['GET', `/v1/offers/${none}`, undefined, 'not-found'],
    ['GET', '/v1/offers/short', undefined, 'bad-request'],
    ['DELETE', `/v1/offers/${none}`, undefined, 'not-found'],
    ['GET', `/v1/offers/${none}/approve`, undefined, 'not-found'],
    ['DELETE', `/v1/devices/${none}`, undefined, 'not-found'],
    ['POST', `/v1/devices/${none}/approve`, { sub: 'alice' }, 'not-found'],
    ['POST', `/v1/devices/${id}/approve`, {}, 'bad-request'],
    ['POST', `/v1/devices/${id}/approve`, { sub: 'x', force: true }, 'bad-request'],
    ['POST', `/v1/devices/${id}/rename`, { name: '' }, 'bad-request'],
    ['POST', `/v1/devices/${id}/rename`, { name: '\u001B[2J' }, 'bad-request'],
    ['POST', `/v1/devices/${id}/rename`, { name: 'x'.repeat(65) }, 'bad-request'],
    ['POST', `/v1/devices/${id}/rename`, { name: 'Ann\u200B' }, 'bad-request'],
    ['POST', `/v1/devices/${id}/rename`, { name: 5 }, 'bad-request'],
    ['POST', '/v1/offers', {}, 'bad-request'],
    ['POST', '/v1/offers', { sub: '' }, 'bad-request'],
    ['POST', '/v1/offers', { sub: 'é'.repeat(256) }, 'bad-request'],
    ['POST', '/v1/offers', { sub: 'x', isApproved: 'yes' }, 'bad-request'],
    ['POST', '/v1/offers', [], 'bad-request'],
    ['POST', '/v1/reset', { yes: true }, 'bad-request'],
    ['POST', '/v1/offers', { sub: 'x'.repeat(20_000) }, 'body-too-large'],
  ]
  for (const [method, path, body, code] of rows) {
    const { status, json } = await link.ask(method, path, body)
    t.match(json, { code, status, type: `urn:workspace-gateway:link:${code}` }, `${method} ${path}`)
    t.equal(status, LINK_ERRORS[code as keyof typeof LINK_ERRORS].status)
  }
  t.same(await link.devices(), before)
  t.equal(target.sockets.length, 0)
})

t.test('eight pairing links are open at most', async (t) => {
  const { link } = await scene(t)
  for (let i = 0; i < 8; i++) await link.offer()
  t.match(await link.ask('POST', '/v1/offers', { sub: 'x' }), {
    ...{ status: 409, json: { code: 'conflict', detail: /8 pairing links are open/ } },
  })
})

t.test('what became of a link is told, for the last sixty-four that have ended', async (t) => {
  const { link } = await scene(t)
  const offers = async () => {
    const made = await Promise.all(
      Array.from({ length: 8 }, () => link.ask('POST', '/v1/offers', { sub: 'x' })),
    )
    return made.map(({ json: { id } }) => String(id))
  }
  const fate = async (id: string) => (await link.ask('GET', `/v1/offers/${id}`)).json
  const [first = ''] = await offers()
  t.same(await fate(first), { id: first, state: 'open', device: null, problem: null })
  for (let i = 0; i < 8; i++) {
    link.clock.turn(600_000)
    t.match(await fate(first), { state: 'ended' })
    await offers()
  }
  link.clock.turn(600_000)
  await offers() // the eight that have ended make sixty-five and more
  t.match(await link.ask('GET', `/v1/offers/${first}`), {
    status: 404,
    json: { code: 'not-found' },
  })
})

t.test('a device that was refused is told with its link', async (t) => {
  const { link } = await scene(t)
  for (let i = 0; i < 8; i++) await pairedDevice(t, await link.offer())
  const { json } = await link.ask('POST', '/v1/offers', { sub: 'alice' })
  const device = new TestDevice(await arrive(t, { offer: offerOfLink(String(json['link'])) }))
  t.equal(await device.ended(), 'notApproved')
  t.match((await link.ask('GET', `/v1/offers/${String(json['id'])}`)).json, {
    ...{ state: 'used', device: null, problem: 'too many devices wait for approval' },
  })
})

t.test('a device is renamed, and approved for one person only', async (t) => {
  const { link } = await scene(t)
  await pairedDevice(t, await link.offer())
  const [{ id } = { id: '' }] = await link.devices()
  t.match(await link.ask('POST', `/v1/devices/${id}/rename`, { name: 'Büro' }), {
    json: { id, name: 'Büro', state: 'waiting' },
  })
  const approve = (sub: string) => link.ask('POST', `/v1/devices/${id}/approve`, { sub })
  t.match(await approve('bob'), { status: 200, json: { state: 'approved', sub: 'bob' } })
  t.match(await approve('bob'), { status: 200 })
  t.match(await approve('eve'), { status: 409, json: { detail: /approved for bob/ } })
  t.match(await link.devices(), [{ name: 'Büro', sub: 'bob' }])
})

t.test('a reset makes a new key, forgets devices and links, and cuts what is open', async (t) => {
  const { link } = await scene(t)
  const device = await pairedDevice(t, await link.offer({ isApproved: true }))
  const open = await link.offer()
  const path = join(link.config.stateDir, 'daemon-keypair.json')
  const before = readFileSync(path, 'utf8')
  t.match(await link.ask('POST', '/v1/reset'), { status: 200 })
  t.equal(await device.ended(), 'revoked')
  t.not(readFileSync(path, 'utf8'), before)
  t.match(await link.status(), { devices: 0, offers: 0 })
  const next = await link.offer({ isApproved: true })
  t.notSame(next.daemonKey, open.daemonKey)
  await new TestDevice(await arrive(t, { offer: next })).welcomed()
})

t.test('a device that was there shows when', async (t) => {
  const { link } = await scene(t)
  const device = await pairedDevice(t, await link.offer())
  device.channel.close('done')
  const seen = await until('it has left', async () => {
    const [listed] = await link.devices()
    return listed?.isConnected === false ? listed : undefined
  })
  t.match(seen, { code: null, lastSeenAt: '2026-11-29T12:00:00.000Z' })
})

t.test('a body that is no JSON is refused without being quoted', async (t) => {
  const { link } = await scene(t)
  const { status, bytes } = await askDoor(link.config.ownerSocket, {
    ...{ method: 'POST', path: '/v1/offers', limitMs: 20_000, maxBytes: 10_000 },
    // JSON.stringify calls this, so that the body is text.
    body: { toJSON: () => 'secret' },
  })
  t.equal(status, 400)
  t.notMatch(bytes.toString(), 'secret')
})

t.test('the page for users explains every code and every request of the door', async (t) => {
  const page = readFileSync('docs/relay.md', 'utf8')
  const explained = [...page.matchAll(/^\| `([a-z-]+)` \| ([0-9]{3}) \|/gm)].map(
    ([, code, status]) => [code, Number(status)] as const,
  )
  t.same(
    explained,
    Object.entries(LINK_ERRORS).map(([code, { status }]) => [code, status]),
  )
  for (const path of Object.values(OWNER_PATHS)) t.match(page, `${path}\``)
})
