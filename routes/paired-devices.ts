/**
 * How does a paired device get its session, and what ends it? The device asks on a connection of its own, and the link tells which devices
 * are still listed. On any other connection these two addresses do not exist.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { memberRefusal, membersOf, textIn, textsIn } from '../src/admin/members.ts'
import { judged } from '../src/admin/perform.ts'
import { NO_FACTOR_HERE_DETAIL } from '../src/answers/details.ts'
import { GatewayError } from '../src/answers/errors.ts'
import { ownHeaders, withBody } from '../src/answers/problem.ts'
import { DEVICE_SESSION, type DeviceSessionAnswer } from '../src/http/device-session.ts'
import { LINK_DEVICES, type DeviceLine } from '../src/http/link-line.ts'
import type { SecondFactors } from '../src/identity/second-factor/factors.ts'
import type { Sessions } from '../src/identity/sessions.ts'
import type { Log } from '../src/observe/log.ts'
import { verifiedPrincipal } from '../src/request/exchange.ts'
import type { State } from '../src/store/state.ts'
import { takeJson } from './json-bodies.ts'
import type { SessionRouteOptions } from './session-forms.ts'

/** The largest body in bytes: a list of 64 ids, and more. */
const MAX_BODY_BYTES = 16 * 1024

/** For what a device shows a factor. */
const PURPOSE = 'device'

/** What the routes need besides the request. */
interface PairedDevicesOptions extends Pick<
  SessionRouteOptions,
  'issuer' | 'watchdog' | 'payForGuess'
> {
  readonly sessions: Sessions
  readonly factors: SecondFactors
  /** Whether factors are kept here (GATEWAY_SECOND_FACTOR). */
  readonly isLocal: boolean
  readonly state: Pick<State, 'ready' | 'catchUp' | 'refuseIfHandedOver'>
  readonly log: Log
}

export default async function pairedDevices(
  app: FastifyInstance,
  { issuer, watchdog, payForGuess, sessions, factors, isLocal, state, log }: PairedDevicesOptions,
): Promise<void> {
  takeJson(app, MAX_BODY_BYTES, watchdog)

  app.post(
    DEVICE_SESSION,
    { config: { public: true, only: 'device' } },
    async function mint(request, reply) {
      const { exchange } = request
      exchange.outcome.stage = 'sign-in'
      const code = codeIn(request.body)
      await state.ready // a predecessor may still write it
      state.catchUp()
      const line = lineOf(request)
      const device = { id: line.device, subject: line.sub, name: line.name }
      const factorAt = code === undefined ? undefined : await shownAt(request, line, code)
      const minted = await issuer.forDevice(device, verifiedPrincipal(exchange), factorAt)
      exchange.principal = minted.principal
      const endsAt = new Date(minted.endsAt).toISOString()
      const answer: DeviceSessionAnswer = { token: minted.token, endsAt, sub: line.sub }
      return tell(request, reply, `${JSON.stringify(answer)}\n`)
    },
  )

  app.put(
    LINK_DEVICES,
    { config: { public: true, uncounted: true, only: 'link' } },
    async function endUnlisted(request, reply) {
      request.exchange.outcome.stage = 'owner'
      const listed = listIn(request.body)
      await state.ready
      state.refuseIfHandedOver() // a successor keeps the sessions, and the link asks it next
      const { ended, isSaved } = sessions.endOfDevicesBut(new Set(listed))
      if (ended.length > 0)
        log.logger.info(
          { devices: ended.map(({ boundTo }) => boundTo), saved: isSaved },
          'sessions of devices ended',
        )
      app.writeAnswer(request, reply, { status: 204, headers: ownHeaders(request.id), body: '' })
      return reply
    },
  )

  /** When the factor was shown that came with a request. @throws {GatewayError} when it was refused */
  async function shownAt(request: FastifyRequest, line: DeviceLine, code: string): Promise<number> {
    if (!isLocal) throw NO_FACTORS
    const { address: client } = request.raw.socket.linkPeer?.client ?? {}
    const about = {
      ...{ sessionId: `device:${line.device}`, client, purpose: PURPOSE },
      proof: { kind: 'code', code } as const,
    }
    const result = await judged(factors, line.sub, about, () => payForGuess(request))
    if (result instanceof GatewayError) throw result
    return result.at
  }

  function tell(request: FastifyRequest, reply: FastifyReply, body: string): FastifyReply {
    app.writeAnswer(request, reply, withBody(200, ownHeaders(request.id), 'application/json', body))
    return reply
  }
}

const NO_FACTORS = new GatewayError('bad-request', {
  reason: 'no second factor here',
  detail: NO_FACTOR_HERE_DETAIL,
})

/** What the link has said of the device. The stage `authentication` lets nobody else through. */
function lineOf({ raw }: FastifyRequest): DeviceLine {
  const line = raw.socket.linkPeer?.device
  if (line === undefined) throw new GatewayError('not-found', { reason: 'no device' })
  return line
}

/** The code of a second factor; undefined without a body. @throws {GatewayError} `bad-request` */
function codeIn(body: unknown): string | undefined {
  return body === undefined || body === null
    ? undefined
    : textIn(membersOf(body, ['code']).code, 'code')
}

function listIn(body: unknown): readonly string[] {
  const listed = textsIn(membersOf(body, ['devices']).devices, 'devices')
  if (listed === undefined) throw memberRefusal('devices', 'a list of texts')
  return listed
}
