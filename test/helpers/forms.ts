/** How does a test use the pages of the gateway? It posts their forms as a browser does, and has second factors to show. */
import { NAVIGATION, ORIGIN } from './door.ts'
import { setUpApp, STEP } from './factors.ts'
import { Authenticator } from './authenticator.ts'
import type { TestGateway } from './gateway.ts'
import { send, type RawAnswer } from './wire.ts'

/** The fields of a form, in order. */
export type FormFields = Readonly<Record<string, string>> | ReadonlyArray<readonly [string, string]>

/** Posts a form as a page of the workspace does. @param page the headers of that page */
export function postForm(
  { port }: Pick<TestGateway, 'port'>,
  path: string,
  page: readonly string[],
  fields: FormFields,
): Promise<RawAnswer> {
  const pairs = Array.isArray(fields) ? fields : Object.entries(fields)
  const body = new URLSearchParams(pairs as string[][]).toString()
  const form = ['Content-Type: application/x-www-form-urlencoded', `Content-Length: ${body.length}`]
  return send(port, `POST ${path}`, [...page, ...NAVIGATION, ...form], body)
}

/** The value of the first field of this name on a page; empty when there is none. */
export const fieldOf = ({ body }: Pick<RawAnswer, 'body'>, name: string): string =>
  new RegExp(`name="${name}" value="([^"]*)"`).exec(body)?.[1] ?? ''

/** The headers of a page after an answer has set its session's cookie. */
export function pageAfter(answer: RawAnswer, page: readonly string[]): string[] {
  const pair = /__Host-workspace_session=[^;\n]+/.exec(answer.headers['set-cookie'] ?? '')?.[0]
  return [`Cookie: ${pair ?? ''}`, ...page.slice(1)]
}

/** Where passkeys of the test workspace are made and used. */
export const SITE = { host: 'houston.hubify.com', origin: ORIGIN }

/** Gives a person an authenticator app. @returns its id and secret, and ten backup codes that count */
export function enrolApp(
  { running }: Pick<TestGateway, 'running'>,
  subject = 'alice',
): ReturnType<typeof setUpApp> {
  const at = Date.now() - STEP // so that the code of now still counts
  return setUpApp(running.parts.factors, subject, { sessionId: 'enrolment', hasProof: false, at })
}

/** Gives a person a passkey. @returns its id, the device that has it, and backup codes if there were none before */
export async function enrolPasskey(
  { running }: Pick<TestGateway, 'running'>,
  subject = 'alice',
): Promise<{ id: string; device: Authenticator; backupCodes: string[] }> {
  const { factors } = running.parts
  const device = new Authenticator()
  const sessionId = 'enrolment'
  const begun = await factors.beginPasskey(subject, { sessionId, hasProof: true, site: SITE })
  if (!begun.isDone) throw new Error(begun.reason)
  const response = device.create(begun.options, ORIGIN)
  const made = { sessionId, response, name: 'laptop', hasEnded: () => false }
  const done = await factors.confirmPasskey(subject, made)
  if (!done.isDone) throw new Error(done.reason)
  return { id: done.factorId, device, backupCodes: [...(done.backupCodes ?? [])] }
}
