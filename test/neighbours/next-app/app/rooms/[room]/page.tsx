import { Suspense } from 'react'
import { Tab } from './tab'

export function generateStaticParams() {
  return ['kitchen', 'library', 'garage', 'garden', 'attic', 'cellar'].map((room) => ({ room }))
}

export default async function Room({ params }: { params: Promise<{ room: string }> }) {
  return (
    <>
      <h1>{(await params).room}</h1>
      <Suspense>
        <Tab />
      </Suspense>
    </>
  )
}
