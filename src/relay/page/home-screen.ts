/** What does a person see of the workspace once the device is connected? Its services, a terminal, requests, and this device. */
import type { RemoteAnswer, RemoteRequest } from '../client/http.ts'
import type { PairedDevice } from '../client/paired-device.ts'
import { actButton, alertOf, el, field, sentence } from './dom.ts'
import type { Lasting } from './key-store.ts'
import { lastingNote, type Screen } from './pairing-screens.ts'

/** What the screen needs. */
export interface HomeOptions {
  readonly device: PairedDevice
  readonly lasting: Lasting
  readonly fetch: (request: RemoteRequest) => Promise<RemoteAnswer>
  readonly onTerminal: () => void
  readonly onForget: () => void
}

/** The longest body that is shown, in bytes. */
const MAX_SHOWN_BYTES = 256 * 1024

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'] as const
const WITHOUT_BODY: ReadonlySet<string> = new Set(['GET', 'HEAD'])

/** The address at which a gateway tells how its services are. */
const READY = '/_gateway/ready'

/** The screen of a connected device. */
export function homeScreen(options: HomeOptions): Screen {
  const { device } = options
  const isGateway = device.target === 'gateway'
  return {
    title: device.host,
    parts: [
      lastingNote(options.lasting),
      isGateway && terminalCard(options),
      isGateway && servicesCard(options),
      requestCard(options),
      deviceCard(options),
    ],
  }
}

function card(id: string, title: string, ...parts: readonly (Node | undefined)[]): HTMLElement {
  return el(
    'section',
    { class: 'card', id, attributes: { 'aria-labelledby': `${id}-title` } },
    el('h2', { id: `${id}-title` }, title),
    ...parts,
  )
}

function terminalCard({ onTerminal }: HomeOptions): HTMLElement {
  return card(
    'terminal',
    'Terminal',
    el('p', { class: 'soft' }, 'A shell of the workspace, in this page.'),
    el('p', {}, actButton('Open the terminal', onTerminal, 'main-act')),
  )
}

function servicesCard({ fetch }: HomeOptions): HTMLElement {
  const list = el('ul', { class: 'chips' }, el('li', { class: 'soft' }, 'Looking…'))
  const look = async () => {
    try {
      list.replaceChildren(...(await servicesOf(fetch)))
    } catch (error) {
      list.replaceChildren(el('li', { class: 'soft' }, textOf(error)))
    }
  }
  void look()
  const again = actButton('Look again', () => void look(), 'quiet')
  const made = card('services', 'Services')
  const title = made.firstElementChild ?? made
  const head = el('header', {}, again)
  title.replaceWith(head)
  head.prepend(title)
  made.append(el('div', { attributes: { role: 'status' } }, list))
  return made
}

async function servicesOf(fetch: HomeOptions['fetch']): Promise<HTMLElement[]> {
  const answer = await fetch({ path: READY, headers: { Accept: 'application/json' } })
  const text = await answer.text(MAX_SHOWN_BYTES)
  if (answer.status !== 200) return [el('li', {}, `The gateway answers ${answer.status}.`)]
  const { services = {} } = JSON.parse(text) as { services?: Record<string, string> }
  return Object.entries(services).map(([name, state]) =>
    el(
      'li',
      {},
      `${name} `,
      el('span', { class: `badge ${state === 'up' ? 'good' : 'bad'}` }, state),
    ),
  )
}

function requestCard({ fetch }: HomeOptions): HTMLElement {
  const method = el('select', { id: 'method' })
  method.append(...METHODS.map((name) => el('option', {}, name)))
  const path = field('Path', 'path', { required: '', inputmode: 'url', spellcheck: 'false' })
  path.input.value = '/health'
  path.input.autocapitalize = 'none'
  const body = el('textarea', { id: 'body', attributes: { spellcheck: 'false' } })
  const bodyPart = el('div', {}, el('label', { attributes: { for: 'body' } }, 'Body, JSON'), body)
  const showBody = () => {
    bodyPart.hidden = WITHOUT_BODY.has(method.value)
  }
  method.addEventListener('change', showBody)
  showBody()
  const send = el('button', {}, 'Send')
  const answer = el('div', { class: 'answer', attributes: { role: 'status' } })
  const ask = async () => {
    send.disabled = true
    answer.replaceChildren(el('p', { class: 'soft' }, 'Waiting for the answer…'))
    try {
      const request = requestOf(method.value, path.input.value, body.value)
      answer.replaceChildren(...(await shownAnswer(await fetch(request))))
    } catch (error) {
      answer.replaceChildren(alertOf(textOf(error)) ?? '')
    }
    send.disabled = false
  }
  const form = el(
    'form',
    { onAct: () => void ask() },
    el(
      'div',
      { class: 'asked' },
      el('div', {}, el('label', { attributes: { for: 'method' } }, 'Method'), method),
      el('div', {}, ...path.parts),
    ),
    bodyPart,
    el('p', {}, send),
  )
  return card('request', 'Request', form, answer)
}

function requestOf(method: string, path: string, body: string): RemoteRequest {
  const request = { method, path: path.trim(), headers: { Accept: '*/*' } }
  if (WITHOUT_BODY.has(method) || body === '') return request
  return { ...request, body, headers: { ...request.headers, 'Content-Type': 'application/json' } }
}

async function shownAnswer(answer: RemoteAnswer): Promise<HTMLElement[]> {
  const { status, headers } = answer
  const type = headers.get('Content-Type') ?? ''
  const look = status < 400 ? 'good' : 'bad'
  const head = el('p', {}, el('span', { class: `badge ${look}` }, String(status)), ` ${type}`)
  const { text, isWhole } = await beginning(answer)
  const shown = el(
    'pre',
    { attributes: { tabindex: '0', 'aria-label': 'Body' } },
    readable(text, type),
  )
  const note = isWhole ? [] : [el('p', { class: 'soft small' }, 'Only the beginning is shown.')]
  return text === '' ? [head] : [head, shown, ...note]
}

/** The beginning of a body, as text. */
async function beginning({ body }: RemoteAnswer): Promise<{ text: string; isWhole: boolean }> {
  const decoder = new TextDecoder()
  const reader = body.getReader()
  let text = ''
  let left = MAX_SHOWN_BYTES
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return { text: text + decoder.decode(), isWhole: true }
    text += decoder.decode(value.subarray(0, left), { stream: true })
    left -= value.length
    if (left < 0) {
      await reader.cancel()
      return { text, isWhole: false }
    }
  }
}

function readable(text: string, type: string): string {
  if (!/\bjson\b/.test(type)) return text
  try {
    return JSON.stringify(JSON.parse(text), null, 2)
  } catch {
    return text
  }
}

const LASTING_WORDS: Readonly<Record<Lasting, string>> = {
  kept: 'in this browser; no script can export it',
  wrapped: 'in this browser, encrypted; no script can export it',
  'this-visit': 'until this page is closed',
}

function deviceCard({ device, lasting, onForget }: HomeOptions): HTMLElement {
  const facts = [
    ['Name', device.name],
    ['ID', device.id],
    ['Relay', device.relay.replace(/^wss?:\/\//, '')],
    ['Key kept', LASTING_WORDS[lasting]],
  ] as const
  const confirm = el('p', { class: 'acts' })
  const ask = actButton(
    'Forget this device',
    () => {
      confirm.replaceChildren(
        actButton('Forget it now', onForget, 'danger'),
        actButton('Keep it', () => confirm.replaceChildren(ask), 'quiet'),
      )
      confirm.querySelector('button')?.focus()
    },
    'danger',
  )
  confirm.append(ask)
  return card(
    'device',
    'This device',
    el(
      'dl',
      { class: 'facts' },
      ...facts.flatMap(([name, value]) => [el('dt', {}, name), el('dd', {}, value)]),
    ),
    el(
      'p',
      { class: 'soft small' },
      'Forgetting deletes the key here. The owner’s list keeps the device until it is revoked there.',
    ),
    confirm,
  )
}

/** What an error says, as a sentence. */
export function textOf(error: unknown): string {
  return sentence(error instanceof Error ? error.message : String(error))
}
