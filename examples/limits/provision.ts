/** How does a control plane ask before it provisions a workspace? With fetch alone. Copy this file; docs/limits.md explains it. */

const ATTEMPTS = 4
const ANSWER_MS = 5000

/** Where the service listens, and one of its tokens. */
export interface Service {
  readonly url: string
  readonly token: string
}

/** The user has to wait for this many seconds. Nothing was taken. */
export class LimitReached extends Error {
  readonly retryAfter: number

  constructor(detail: string, retryAfter: number) {
    super(detail)
    this.retryAfter = retryAfter
  }
}

/**
 * Provisions a workspace, if the user's limit has room for it. A point is taken first, and given back when provisioning fails.
 * @param grant the id of this job: made once, kept with the job, and never chosen by the user
 * @throws {LimitReached} when the user has to wait, and another error when the service is away: nothing is provisioned then
 */
export async function provisionWithin<Workspace>(
  service: Service,
  user: string,
  grant: string,
  provision: () => Promise<Workspace>,
): Promise<Workspace> {
  const answer = await ask(service, 'POST', { user, grant })
  if (answer.status === 429) {
    const { detail, retryAfter } = (await answer.json()) as { detail: string; retryAfter: number }
    throw new LimitReached(detail, retryAfter)
  }
  if (answer.status !== 200) throw new Error(`the limits service refused: ${await answer.text()}`)
  try {
    return await provision()
  } catch (error) {
    const problem = await giveBack(service, user, grant)
    if (problem === undefined) throw error
    throw new Error(`it failed, and its point is not given back yet: ${problem}`, { cause: error })
  }
}

/** Gives a point back. @returns why it could not; undefined when the point is not taken any more */
async function giveBack(service: Service, user: string, grant: string): Promise<string | undefined> {
  try {
    const { status } = await ask(service, 'DELETE', { user, grant })
    // 404: it was given back before, and that answer was lost.
    return status === 200 || status === 404 ? undefined : `answered ${status}`
  } catch (error) {
    return String(error)
  }
}

/** Asks until an answer comes. The same grant takes nothing a second time, so it may be asked for again when an answer was lost. */
async function ask(
  { url, token }: Service,
  method: 'POST' | 'DELETE',
  body: object,
): Promise<Response> {
  let problem: unknown
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    let waitSeconds = 2 ** attempt / 4
    try {
      const answer = await fetch(`${url}/v1/provision`, {
        method,
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(ANSWER_MS),
      })
      if (answer.status < 500) return answer
      problem = new Error(await answer.text())
      waitSeconds = Number(answer.headers.get('retry-after') ?? waitSeconds)
    } catch (error) {
      problem = error
    }
    if (attempt + 1 < ATTEMPTS)
      await new Promise((resolve) => setTimeout(resolve, waitSeconds * 1000))
  }
  throw new Error('the limits service does not answer', { cause: problem })
}
