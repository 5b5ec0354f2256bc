import type { Metadata } from 'next'
import Link from 'next/link'
import type { ReactNode } from 'react'
import './dashboard.css'

export const metadata: Metadata = { title: 'Houston' }

const ROOMS = ['kitchen', 'library', 'garage', 'garden', 'attic', 'cellar']

export default function Layout({ children }: { children: ReactNode }) {
  return (
    <html lang="en">
      <body>
        <nav>
          <Link href="/">home</Link>
          {ROOMS.map((room) => (
            <Link key={room} href={`/rooms/${room}`}>
              {room}
            </Link>
          ))}
          <Link href="/now">now</Link>
          <Link href="/notes">notes</Link>
          <Link href="/terminal">terminal</Link>
        </nav>
        <main>{children}</main>
      </body>
    </html>
  )
}
