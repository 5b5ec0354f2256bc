/** What does a person see until the device is paired? How to get a link, a name for the device, and a code to compare. */
import { REMOTE_BROWSER_NAMES } from '../../answers/pages/remote-browsers.ts'
import { deviceNameIn } from '../protocol/handshake.ts'
import type { Offer } from '../protocol/offer.ts'
import { actButton, alertOf, el, field, type Child } from './dom.ts'
import type { Lasting } from './key-store.ts'

/** A screen: its heading, and what it contains. */
export interface Screen {
  readonly title: string
  readonly parts: readonly Child[]
}

/** The screen of a browser that is not paired, and has no link. @param onLink gets what was pasted */
export function startScreen(problem: string | undefined, onLink: (link: string) => void): Screen {
  const { parts, input } = field('Pairing link', 'link', { inputmode: 'url', spellcheck: 'false' })
  const paste = el(
    'form',
    { onAct: () => onLink(input.value) },
    ...parts,
    el('p', {}, el('button', { class: 'quiet' }, 'Go on')),
  )
  return {
    title: 'Pair this device',
    parts: [
      alertOf(problem),
      el(
        'p',
        {},
        'On the workspace, run ',
        el('code', {}, 'workspace-gateway pair'),
        ', and scan the code with this phone’s camera, or open the link that it prints here.',
      ),
      el('p', { class: 'soft' }, 'A link is good once, for ten minutes.'),
      paste,
      about(
        'This page and the workspace speak through a relay, end to end encrypted. The relay sees when, how much and from where, and nothing else.',
      ),
    ],
  }
}

/**
 * The screen that asks for a name.
 * @param replaced the workspace that this browser is paired with now, if it is
 */
export function nameScreen(options: {
  readonly offer: Offer
  readonly problem: string | undefined
  readonly replaced: string | undefined
  readonly name: string
  readonly onPair: (name: string) => void
  readonly onCancel: () => void
}): Screen {
  const { offer, problem, replaced, name, onPair, onCancel } = options
  const label = el('span', {}, 'Name of this device')
  const { parts, input } = field(label, 'name', { maxlength: '40', required: '' })
  input.value = name
  const form = el(
    'form',
    { onAct: () => onPair(deviceNameIn(input.value) ?? name) },
    ...parts,
    el('p', { class: 'soft small' }, 'The workspace’s owner sees it in the list of devices.'),
    el('p', {}, el('button', { class: 'main-act' }, 'Pair')),
  )
  return {
    title: 'Pair this device',
    parts: [
      alertOf(problem),
      el('p', {}, 'With the workspace that made the link, through the relay ', relayOf(offer), '.'),
      replaced !== undefined &&
        el(
          'p',
          { class: 'alert' },
          'This browser is paired with ',
          el('bdi', {}, replaced),
          '. It forgets that workspace when it is paired with this one.',
        ),
      form,
      el('p', {}, actButton('Cancel', onCancel, 'quiet')),
    ],
  }
}

/** The screen while something takes its time. */
export function busyScreen(title: string, text: string, onCancel?: () => void): Screen {
  const cancel = onCancel === undefined ? undefined : actButton('Cancel', onCancel, 'quiet')
  return {
    title,
    parts: [el('p', { attributes: { role: 'status' } }, text), cancel && el('p', {}, cancel)],
  }
}

/** The screen of a device that waits for the owner. @param code six digits, which the owner's list shows too */
export function waitingScreen(options: {
  readonly code: string
  readonly lasting: Lasting
  readonly onForget: () => void
}): Screen {
  const { code, lasting, onForget } = options
  return {
    title: 'Waiting for approval',
    parts: [
      el('p', {}, 'The owner of the workspace compares this code, and approves the device:'),
      el(
        'p',
        { class: 'comparison', attributes: { 'aria-label': code.split('').join(' ') } },
        code,
      ),
      el(
        'p',
        { class: 'soft' },
        'On the workspace: ',
        el('code', {}, 'workspace-gateway devices list'),
        '. This page goes on by itself.',
      ),
      lastingNote(lasting),
      el('p', {}, actButton('Cancel', onForget, 'quiet')),
    ],
  }
}

/** The screen of a browser that cannot run the page: too old, or without HTTPS, where browsers encrypt nothing for a page. */
export function cannotRunScreen(): Screen {
  const isTooOld = globalThis.isSecureContext
  const what = isTooOld
    ? 'It cannot do what the encryption needs (X25519 in WebCrypto).'
    : 'Browsers encrypt for pages of HTTPS alone, and for those of this machine.'
  const next = isTooOld
    ? `Open the same address in ${REMOTE_BROWSER_NAMES}, or in a newer one. The link has not been used.`
    : 'Open the same address with https:// in front. The link has not been used.'
  return {
    title: isTooOld ? 'This browser is too old' : 'This page needs HTTPS',
    parts: [alertOf(what), el('p', {}, next)],
  }
}

/** The screen of a connection that has ended, or that cannot be made now. */
export function endedScreen(options: {
  readonly text: string
  /** Whether the page goes on trying. Default: false. */
  readonly isTrying?: boolean
  /** What the button of `onAgain` says. Default: Try again. */
  readonly again?: string | undefined
  readonly onAgain: (() => void) | undefined
  readonly onForget: (() => void) | undefined
  readonly onCancel?: (() => void) | undefined
}): Screen {
  const { text, isTrying = false, again = 'Try again', onAgain, onForget, onCancel } = options
  return {
    title: 'Not connected',
    parts: [
      alertOf(text),
      isTrying && el('p', { class: 'soft' }, 'The page tries again by itself.'),
      el(
        'p',
        { class: 'acts' },
        onAgain !== undefined && actButton(again, onAgain),
        onForget !== undefined && actButton('Forget this device', onForget, 'danger'),
        onCancel !== undefined && actButton('Cancel', onCancel, 'quiet'),
      ),
    ],
  }
}

/** Says plainly that this browser does not keep its key. */
export function lastingNote(lasting: Lasting): HTMLElement | undefined {
  if (lasting !== 'this-visit') return undefined
  return el(
    'p',
    { class: 'alert' },
    'This browser does not keep keys. The pairing ends when this page is closed; then pair again with a new link.',
  )
}

function about(text: string): HTMLElement {
  return el('p', { class: 'about' }, text)
}

function relayOf({ relay }: Offer): HTMLElement {
  return el('bdi', {}, relay.replace(/^wss?:\/\//, ''))
}
