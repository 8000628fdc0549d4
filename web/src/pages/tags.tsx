/** The tags of a sandbox, and a dialog that changes them. */
import { useState } from 'preact/hooks';
import type { SandboxInfo } from '../../../sdk/src/index.ts';
import { DialogForm, FormDialog } from '../dialog.tsx';
import { pathOf } from '../sandbox-access.ts';
import { mayChange, send } from '../session.ts';

export function Tags({ info: { id, name, tags }, again }: { info: SandboxInfo; again: () => void }) {
  return (
    <>
      {Object.entries(tags).map(([key, value]) => (
        <div key={key}>
          {key} = {value}
        </div>
      ))}
      {Object.keys(tags).length === 0 && '– '}
      {mayChange() && (
        <FormDialog verb="Edit tags" title={`Tags of ${name ?? id}`}>
          {(close) => (
            <TagForm
              id={id}
              tags={tags}
              onSaved={() => {
                again();
                close();
              }}
              onLeft={close}
            />
          )}
        </FormDialog>
      )}
    </>
  );
}

interface Tag {
  readonly key: string;
  readonly value: string;
}

const NONE: Tag = { key: '', value: '' };

function TagForm({
  id,
  tags,
  onSaved,
  onLeft,
}: Pick<SandboxInfo, 'id' | 'tags'> & { onSaved: () => void; onLeft: () => void }) {
  const [rows, setRows] = useState<readonly Tag[]>(() => [
    ...Object.entries(tags).map(([key, value]) => ({ key, value })),
    NONE,
  ]);
  const change = (at: number, part: Partial<Tag>) =>
    setRows(rows.map((row, index) => (index === at ? { ...row, ...part } : row)));
  const save = async () => {
    const given = rows.filter(({ key, value }) => key !== '' || value !== '');
    const keys = given.map(({ key }) => key);
    const twice = keys.find((key, index) => keys.indexOf(key) !== index);
    if (twice !== undefined) throw new Error(`There are two tags ‘${twice}’: give one of them another name.`);
    await send('PUT', `${pathOf(id)}/tags`, {
      tags: Object.fromEntries(given.map(({ key, value }) => [key, value])),
    });
    onSaved();
  };
  return (
    <DialogForm leave="Leave them" save="Save tags" work={save} onLeft={onLeft}>
      <ul class="rows">
        {rows.map(({ key, value }, index) => (
          <li key={index}>
            <input
              aria-label={`Name of tag ${index + 1}`}
              placeholder="name"
              maxLength={128}
              value={key}
              onInput={({ currentTarget }) => change(index, { key: currentTarget.value })}
            />
            <input
              aria-label={`Value of tag ${index + 1}`}
              placeholder="value"
              maxLength={1024}
              value={value}
              onInput={({ currentTarget }) => change(index, { value: currentTarget.value })}
            />
            <button
              type="button"
              aria-label={`Remove tag ${index + 1}`}
              onClick={() => setRows(rows.filter((_, other) => other !== index))}
            >
              Remove
            </button>
          </li>
        ))}
      </ul>
      <button type="button" onClick={() => setRows([...rows, NONE])}>
        Another tag
      </button>
    </DialogForm>
  );
}
