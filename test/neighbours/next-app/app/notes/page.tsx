import { Alive } from '../alive'
import { Notes } from './notes'

export default function NotesPage() {
  return (
    <>
      <h1>notes</h1>
      <Alive />
      <Notes />
    </>
  )
}
