/** Jupyter as people start it in a sandbox, used through its tunnel in a real browser: websockets, cookies and big files beside each other. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { expect } from '@playwright/test';
import { Browsing, noBrowsing, PAGE_MS } from './support/browsing.ts';
import { runPython } from './support/clients.ts';
import { patient } from './support/slowness.ts';

/**
 * As the documents that Skerry was made from have it, but for `--allow-root`, without which Jupyter itself ends at once when it is root's. Prints the sandbox's id, the tunnel's URL and Jupyter's token, which it has in its log as anybody who starts one.
 */
const start = `
import json, re, modal
app = modal.App.lookup("jupyter", create_if_missing=True)
sandbox = modal.Sandbox.create(
    "jupyter", "notebook", "--ip=0.0.0.0", "--port=8888", "--no-browser", "--allow-root",
    app=app,
    image=modal.Image.debian_slim().pip_install("jupyter"),
    encrypted_ports=[8888],
    timeout=3600
)
token = next(found[1] for line in sandbox.stderr if (found := re.search(r"[?]token=([0-9a-f]+)", line)))
cell = {"cell_type": "code", "execution_count": None, "id": "only", "metadata": {}, "outputs": [], "source": []}
kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
notebook = {"cells": [cell], "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
directory = sandbox.exec("pwd").stdout.read().strip()
sandbox.filesystem.write_text(json.dumps(notebook), f"{directory}/first.ipynb")
print(sandbox.object_id, sandbox.tunnels()[8888].url, token)
`;

const isConnected = `fetch('/api/kernels').then((answer) => answer.json())
  .then((kernels) => kernels.some((one) => one.connections > 0 && one.execution_state === 'idle'))`;

describe('a notebook', { skip: noBrowsing }, () => {
  let browsing: Browsing;
  before(async () => {
    browsing = await Browsing.open();
  });
  after(() => browsing?.[Symbol.asyncDispose]());

  test('runs a cell in a browser of another machine, and shows its result', async () => {
    const { server } = browsing;
    const { stdout, stderr } = await runPython(server, start, { timeoutMs: patient(900_000) });
    const [id = '', url = '', token = ''] = stdout.trim().split(' ');
    assert.match(id, /^sb-/, stderr);
    await using page = await browsing.page();
    await page.goto(`${url}/notebooks/first.ipynb?token=${token}`);
    const idle = page.locator('.jp-Notebook-ExecutionIndicator[data-status=idle]');
    await expect(idle).toBeAttached({ timeout: PAGE_MS });
    // A cell that is run before that is run by nobody.
    await expect.poll(() => page.evaluate(isConnected), { timeout: PAGE_MS }).toBe(true);
    await page.locator('.jp-CodeCell .cm-content').focus();
    await page.keyboard.insertText('print(6 * 7, "from the kernel")');
    await page.keyboard.press('Shift+Enter');
    const shown = page.locator('.jp-OutputArea-output pre').first();
    await expect(shown).toHaveText('42 from the kernel', { timeout: PAGE_MS });
    await runPython(server, `import modal; modal.Sandbox.from_id("${id}").terminate()`);
  });
});
