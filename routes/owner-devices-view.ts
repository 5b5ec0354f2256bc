/** What does an owner see of paired devices on their page? Those that wait first, with their codes, and a form for a pairing link. */
import type { DevicesView, OfferView } from '../src/admin/device-actions.ts'
import { html, trusted, type Html } from '../src/answers/html.ts'
import { hiddenFields, personOf, timeOf } from '../src/answers/pages/elements.ts'
import { OWNER_PAGE } from '../src/answers/pages/paths.ts'
import type { PageContent } from '../src/answers/pages/shell.ts'
import { qrCode, qrSvg } from '../src/answers/qr.ts'
import { act, rows, section } from './owner-pieces.ts'

/** The devices, or why they cannot be shown. */
export type DevicesPart = DevicesView | { readonly problem: string }

type Device = DevicesView['devices'][number]

/** How many devices the page shows: as many as the link has at most, those included that wait. */
const MAX_DEVICES = 72

/** Light modules around the code (ISO/IEC 18004 section 9.1). */
const QUIET_ZONE = 4

/** Builds the section; nothing where there is no link, or the person may not see it. */
export function devicesSection({
  devices: part,
  once,
}: {
  readonly devices: DevicesPart | undefined
  readonly once: string
}): Html | undefined {
  if (part === undefined) return undefined
  if ('problem' in part)
    return section('devices', 'Devices', html`<p class="alert">${part.problem}</p>`)
  const { devices } = part
  return section(
    'devices',
    'Devices',
    html`${rows(devices.slice(0, MAX_DEVICES).map(deviceRow), 'No device is paired.')}${offerForm(once)}`,
  )
}

function deviceRow(device: Device): Html {
  const { id, name, kind, state, sub, code, pairedAt, lastSeenAt, isConnected } = device
  const isWaiting = state === 'waiting'
  // Without its code nobody can tell whose device it is.
  const canCome = isWaiting && code !== null
  const short = id.slice(0, 8)
  return html`<li>
    <div>
      <p>
        <strong><bdi>${name}</bdi></strong>
        <span class="soft">${kind === 'page' ? 'page of a browser' : 'command on a machine'}</span>
        ${isWaiting ? html`<span class="badge warn">waits</span>` : undefined}
        ${isConnected ? html`<span class="badge good">connected</span>` : undefined}
      </p>
      ${isWaiting ? codeOf(code) : undefined}
      <p class="small soft">
        ${short}, paired
        ${timeOf(pairedAt)}${lastSeenAt === null ? undefined : html`, last seen ${timeOf(lastSeenAt)}`}${isWaiting || sub === null ? undefined : html`, as ${personOf(sub)}`}
      </p>
    </div>
    <div class="acts">
      ${canCome ? act('approve-device', { id }, 'Let in', `${name} ${short}`, '') : undefined}
      ${isWaiting ? undefined : renameForm(device)}
      ${act('revoke-device', { id }, isWaiting ? 'Refuse' : 'Revoke', `${name} ${short}`)}
    </div>
  </li>`
}

/**
 * What letting a device in means, without a full stop. A page of the dashboard could have sent the form with another device, so the
 * sentence says which one it is. The name stands last, because the device chose it.
 */
export function letInSentence(device: Device | undefined): string {
  if (device === undefined) return 'Let a device in, as you'
  const { id, name, code } = device
  const shows = code === null ? 'is not connected now' : `shows the code ${code}`
  return `Let in, as you, the device that ${shows}: ${id.slice(0, 8)}, “${name}”`
}

/** What the owner compares: a device of somebody else shows another code, or none. */
function codeOf(code: string | null): Html {
  return code === null
    ? html`<p class="small">
        It is not connected now, so there is no code to compare. Open its page or command again, and
        then this page.
      </p>`
    : html`<p>The device shows the code <code>${code}</code>. Another code: refuse it.</p>`
}

function renameForm({ id, name }: Device): Html {
  return html`<form method="post" action="${OWNER_PAGE}">
    ${hiddenFields({ act: 'rename-device', id })}<input
      name="name"
      value="${name}"
      maxlength="64"
      required
      aria-label="Name of the device"
    /><button class="quiet">Rename</button>
  </form>`
}

function offerForm(once: string): Html {
  return html`<details>
    <summary>Pair a device</summary>
    <form method="post" action="${OWNER_PAGE}">
      ${hiddenFields({ act: 'offer-device', once })}
      <p class="small soft">
        A device that you let in is signed in as you, for as long as it is listed here.
      </p>
      <p>
        <label
          ><input type="checkbox" name="approved" value="yes" /> Let it in at once: whoever opens
          the link first</label
        >
      </p>
      <p><button>Make a pairing link</button></p>
    </form>
  </details>`
}

/** Builds the page with a pairing link, which is shown this once. */
export function offerPage({ link, expiresAt }: OfferView): PageContent {
  const end = link.indexOf('#') + 1
  const picture = trusted(qrSvg(qrCode(link.slice(0, end), link.slice(end)), QUIET_ZONE))
  return {
    title: 'Pair a device',
    main: html`<p>
        Open the camera of the phone and point it at this code, or open the link on the device. It
        works once, until ${timeOf(expiresAt)}.
      </p>
      <div class="picture" role="img" aria-label="QR code of the pairing link">${picture}</div>
      <p class="small soft">Link</p>
      <code class="secret" id="secret-0">${link}</code
      ><button type="button" class="quiet" data-copy="secret-0" hidden>Copy</button>
      <p>
        Keep it to yourself: who opens it first gets ahead of your device. Devices that wait are
        listed on your account, where you let them in.
      </p>
      <p><a class="button" href="${OWNER_PAGE}">Back to your account</a></p>`,
    scripts: ['comfort'],
  }
}
