/** How is text made to look as it did? A pen knows how the next character looks, and writes what changes that (SGR, links). */
import { HAS_EXTENDED, type LinkData, type Look } from './xterm-internals.ts'

// The bits of xterm.js: a colour is its kind and its value, the other bits of both numbers are flags.
const COLOR_KIND = 0x3000000
const SIXTEEN = 0x1000000
const INDEXED = 0x2000000
const UNDERLINE = 0x10000000
const PROTECTED = 0x20000000
const FG_FLAGS = 0xfc000000 | 0
const BG_FLAGS = 0x6c000000
const STYLE_SHIFT = 26
const STYLE_MASK = 7 << STYLE_SHIFT

/** Flags of the first number, and what sets them. */
const FG_SETTERS: readonly (readonly [number, number])[] = [
  [0x8000000, 1],
  [0x20000000, 5],
  [0x4000000, 7],
  [0x40000000, 8],
  [0x80000000 | 0, 9],
]

/** Flags of the second number, and what sets them. */
const BG_SETTERS: readonly (readonly [number, number])[] = [
  [0x8000000, 2],
  [0x4000000, 3],
  [0x40000000, 53],
]

/** The first of the codes that set a colour, for foreground, background and underline. */
type Ground = 38 | 48 | 58

/** How text looks when nothing was said. */
export const PLAIN: Look = { fg: 0, bg: 0, underline: 0, link: 0 }

/** Whether a cell's attributes are completed by those that do not fit into two numbers. */
export function hasExtended(bg: number): boolean {
  return (bg & HAS_EXTENDED) !== 0
}

/** Whether only the background of a look can be seen in an empty cell. */
export function isPlainButBackground({ fg, bg }: Look): boolean {
  return (fg & FG_FLAGS) === 0 && (bg & BG_FLAGS) === 0
}

/** Whether the next character is going to have the underline and the link that are open. */
export function isInUse({ fg, bg, underline, link }: Look): boolean {
  const hasStyle = (underline & STYLE_MASK) !== 0
  const isUnderlined = (fg & UNDERLINE) !== 0
  return isUnderlined === hasStyle && hasExtended(bg) === (hasStyle || link !== 0)
}

/** A look with the underline that is open. */
export function withUnderline(look: Look): Look {
  const hasStyle = (look.underline & STYLE_MASK) !== 0
  return hasStyle ? { ...look, fg: look.fg | UNDERLINE } : look
}

/** The background colour of a look; 0 is the default. */
export function backgroundOf({ bg }: Look): number {
  return colorIn(bg)
}

/** What a look is compared by. */
export function lookKey({ fg, bg, underline, link }: Look): string {
  const numbers = [
    fg & FG_FLAGS,
    colorIn(fg),
    bg & BG_FLAGS,
    colorIn(bg),
    underlineOf(fg, underline),
  ]
  return [...numbers, link].join(' ')
}

/** Writes changes of the look. */
export class Pen {
  readonly #linkOf: (number: number) => LinkData | undefined
  #fg = 0
  #bg = 0
  #underline = 0
  #link = 0

  constructor(linkOf: (number: number) => LinkData | undefined) {
    this.#linkOf = linkOf
  }

  /** The background that erased cells get. */
  get background(): number {
    return colorIn(this.#bg)
  }

  /** The output after which text looks so; empty when it does already. */
  change(look: Look): string {
    const { link } = look
    const nextFg = (look.fg & FG_FLAGS) | colorIn(look.fg)
    const nextBg = (look.bg & BG_FLAGS) | colorIn(look.bg)
    const underline = underlineOf(look.fg, look.underline)
    let text = ''
    if (nextFg !== this.#fg || nextBg !== this.#bg || underline !== this.#underline) {
      this.#fg = nextFg
      this.#bg = nextBg
      this.#underline = underline
      text = renditionText(nextFg, nextBg, underline)
    }
    if (link !== this.#link) {
      this.#link = link
      text += linkText(this.#linkOf(link))
    }
    return text
  }
}

/** Adds to one text and joins no list: a screen on which no two cells look the same is drawn in half the time. */
function renditionText(fg: number, bg: number, underline: number): string {
  let codes = ''
  for (const [flag, code] of FG_SETTERS) if ((fg & flag) !== 0) codes += `;${code}`
  for (const [flag, code] of BG_SETTERS) if ((bg & flag) !== 0) codes += `;${code}`
  const style = (underline & STYLE_MASK) >>> STYLE_SHIFT
  if (style > 0) codes += style === 1 ? ';4' : `;4:${style}`
  codes += colorCodes(38, fg) + colorCodes(48, bg) + colorCodes(58, underline)
  const sgr = codes === '' ? '\x1b[m' : `\x1b[0${codes}m`
  return (bg & PROTECTED) === 0 ? sgr : `${sgr}\x1b[1"q`
}

function colorCodes(ground: Ground, color: number): string {
  const kind = color & COLOR_KIND
  const value = color & 0xffffff
  if (kind === 0) return ''
  if (kind === INDEXED || (kind === SIXTEEN && ground === 58)) return `;${ground};5;${value}`
  if (kind === SIXTEEN) return `;${ground - 8 + (value & 7) + (value > 7 ? 60 : 0)}`
  return `;${ground};2;${value >> 16};${(value >> 8) & 0xff};${value & 0xff}`
}

function linkText(link: LinkData | undefined): string {
  if (link === undefined) return '\x1b]8;;\x1b\\'
  return `\x1b]8;${link.id === undefined ? '' : `id=${link.id}`};${link.uri}\x1b\\`
}

/** A colour without what an earlier, larger one has left behind. */
function colorIn(bits: number): number {
  const kind = bits & COLOR_KIND
  if (kind === 0) return 0
  return kind | (bits & (kind === SIXTEEN || kind === INDEXED ? 0xff : 0xffffff))
}

/** Style and colour of the underline. A cursor that was restored can be underlined without having a style. */
function underlineOf(fg: number, bits: number): number {
  const style = (fg & UNDERLINE) === 0 ? 0 : bits & STYLE_MASK || 1 << STYLE_SHIFT
  return style | colorIn(bits)
}
