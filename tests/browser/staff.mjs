// The staff's work in a real browser: `node staff.mjs SCENE URL`. What is in the databases afterwards is for
// tests/tests/console.rs to see. Exit code 0 only when all of it went as it should.
import { LOAD_BYTES_MAX, Visit, must } from './browser.mjs';

const [scene, base] = process.argv.slice(2);
const user = 'ana';
const password = 'correct horse';

async function logIn(visit, page = visit.page) {
    await visit.go('/', page);
    await page.getByLabel('Name').fill(user);
    await page.getByLabel('Password').fill(password);
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.getByRole('heading', { name: 'Branches' }).waitFor();
}

const row = (page, name) => page.getByRole('article', { name });

const scenes = {
    // wrong password, right one; a branch is added, and cloned after the dry run was shown
    async begin() {
        const visit = await Visit.begin(base);
        const { page } = visit;
        await visit.go('/history');
        must(page.url().endsWith('/login'), 'a page is shown to somebody who is not logged in');
        await visit.inspect('login');
        await page.getByLabel('Name').fill(user);
        await page.getByLabel('Password').fill('wrong horse');
        await page.getByRole('button', { name: 'Log in' }).click();
        await page.getByText('do not belong together').waitFor();
        await logIn(visit);
        await visit.inspect('branches-new');

        await page.getByRole('link', { name: 'Add a branch' }).click();
        await page.getByLabel('Name').fill('no such name!');
        await page.getByLabel('Address of its agent').fill(process.env.SHOP_URL);
        await page.getByRole('button', { name: 'Add' }).click();
        await page.getByRole('alert').getByText('no name for a branch').waitFor();
        await visit.inspect('add');
        await page.getByLabel('Name').fill('west');
        await page.getByRole('button', { name: 'Add' }).click();
        await row(page, 'west').getByText('New', { exact: true }).waitFor();

        await row(page, 'west').getByRole('link', { name: 'Clone west' }).click();
        // the dry run comes by itself, and only then the button
        await page.getByText('To the shop, by table').waitFor();
        must((await page.getByRole('cell', { name: 'product', exact: true }).count()) === 1, 'the dry run names no product');
        await visit.inspect('clone');
        await page.getByLabel('Empty the shop’s synchronised tables').check();
        await page.getByRole('button', { name: 'Clone west' }).click();
        await page.getByRole('heading', { name: 'Clone of west' }).waitFor();
        await page.getByRole('heading', { name: 'Done', exact: true }).waitFor();
        await page.getByText('Tables that agree').waitFor();
        await visit.inspect('clone-done');
        await visit.go('/');
        await row(page, 'west').getByText('In step').waitFor();
        await visit.end();
    },

    // an update over a slow line is seen moving without a reload, here and on the list; it survives one; it can be stopped
    async watch() {
        const visit = await Visit.begin(base);
        const { page } = visit;
        await logIn(visit);
        const list = await page.context().newPage();
        await visit.go('/', list);
        await row(page, 'north').getByRole('button', { name: 'Update north' }).click();
        const seen = new Set();
        const bar = page.getByRole('progressbar', { name: 'From the shop' });
        await bar.waitFor();
        const moved = async (times) => {
            const began = Date.now();
            while (seen.size < times) {
                must(Date.now() - began < 60_000, `progress was seen at ${[...seen]} only`);
                seen.add(await bar.evaluate((bar) => bar.value).catch(() => 'gone'));
                await page.waitForTimeout(50);
            }
        };
        await moved(3);
        await visit.inspect('run');
        await row(list, 'north').getByText('Updating').waitFor();
        await visit.inspect('branches-busy', list);
        await page.reload();
        await bar.waitFor();
        await moved(5);
        await page.getByRole('button', { name: 'Stop' }).click();
        await page.getByRole('heading', { name: 'Stopped at a clean place' }).waitFor();
        await visit.inspect('run-stopped');
        await row(list, 'north').getByText('Stopped', { exact: true }).waitFor();
        await visit.end();
    },

    // it goes on where it was stopped, and what both sides changed waits for somebody
    async again() {
        const visit = await Visit.begin(base);
        const { page } = visit;
        await logIn(visit);
        await row(page, 'north').getByRole('button', { name: 'Update north' }).click();
        await page.getByRole('heading', { name: 'Done', exact: true }).waitFor();
        await visit.inspect('run-done');
        await visit.go('/');
        await row(page, 'north').getByText('1 conflict').waitFor();
        await visit.inspect('branches');

        // its page: a schedule, settings of its link (a wrong one is explained), and both sides compared
        await row(page, 'north').getByRole('link', { name: 'north', exact: true }).click();
        await page.getByRole('textbox', { name: 'When', exact: true }).fill('every 15m jitter 2m');
        await page.getByRole('button', { name: 'Save' }).first().click();
        await page.getByRole('status').getByText('saved').waitFor();
        await page.getByText('Next update').waitFor();
        await page.getByText('Change the link').click();
        await page.getByLabel('Called only in').fill('always');
        await page.locator('#save-settings').click();
        await page.getByRole('alert').getByText('22:00-06:00').waitFor();
        await visit.inspect('branch-wrong');
        await page.getByLabel('Called only in').fill('00:00-00:00');
        await page.locator('#save-settings').click();
        await page.getByRole('status').getByText('saved').waitFor();
        await page.getByText('in 00:00-00:00').waitFor();
        await page.getByRole('textbox', { name: 'When', exact: true }).fill('');
        await page.getByRole('button', { name: 'Save' }).first().click();
        await page.getByText('Updated when somebody asks for it').waitFor();
        await visit.inspect('branch', page, true);
        await page.getByRole('link', { name: 'Verify' }).click();
        await page.getByRole('heading', { name: 'Rows that differ' }).waitFor();
        await visit.inspect('verify');
        await visit.end();
    },

    // both versions side by side; swapped, taken back, swapped
    async decide() {
        const visit = await Visit.begin(base);
        const { page } = visit;
        await logIn(visit);
        await page.getByRole('link', { name: /^Conflicts/ }).click();
        const card = page.getByRole('article', { name: /person/ });
        await card.getByText('Ada of the Office').waitFor();
        await card.getByText('Ada of the North').waitFor();
        const marked = await card.locator('tr.contended th').allTextContents();
        must(`${marked}` === 'name,updated_at', `the differing columns are marked, not ${marked}`);
        await visit.inspect('conflicts');
        await card.getByRole('button', { name: 'Take the shop’s' }).click();
        await page.getByRole('status').getByText('the shop’s version stands').waitFor();
        must((await page.getByRole('article', { name: /person/ }).count()) === 0, 'it is not open any more');
        await page.getByRole('button', { name: 'Undo' }).click();
        await page.getByRole('status').getByText('open again').waitFor();
        await page.getByRole('article', { name: /person/ }).getByRole('button', { name: 'Take the shop’s' }).click();
        await page.getByRole('status').getByText('the shop’s version stands').waitFor();
        await visit.inspect('conflicts-decided');
        await visit.end();
    },

    // a shop that is off: what happened and what to do is on its page and on the list
    async failing() {
        const visit = await Visit.begin(base);
        const { page } = visit;
        await logIn(visit);
        await row(page, 'south').getByRole('button', { name: 'Update south' }).click();
        await page.getByRole('heading', { name: 'The shop was not reached' }).waitFor();
        await visit.inspect('run-failed');
        await visit.go('/');
        await row(page, 'south').getByText('Not reached').waitFor();
        await row(page, 'south').getByText('Is the shop’s machine on').waitFor();
        await visit.inspect('branches-failed');
        await visit.go('/quarantine');
        await visit.inspect('quarantine');
        await visit.go('/history?branch=north');
        await page.getByRole('img', { name: /^Rows of \d+ runs: at most/ }).waitFor();
        await visit.inspect('history');
        const [file] = await Promise.all([
            page.waitForEvent('download'),
            page.getByRole('link', { name: 'Download as CSV' }).click(),
        ]);
        must(file.suggestedFilename() === 'history.csv', 'the history is downloaded as a file');
        await page.getByLabel('Branch').selectOption('');
        await page.getByLabel('Result').selectOption('unreachable');
        await page.getByRole('button', { name: 'Show' }).click();
        must((await page.locator('table.runs tbody tr').count()) === 1, 'the history filters by result');
        await page.locator('table.runs tbody a').first().click();
        await visit.inspect('record');
        await visit.end();
    },

    // every page on a phone; by the keyboard; light enough
    async phone() {
        const visit = await Visit.begin(base, { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true });
        const { page } = visit;
        await logIn(visit);
        const pages = { branches: '/', branch: '/branches/north', conflicts: '/conflicts?all=1', history: '/history' };
        Object.assign(pages, { add: '/branches/new', quarantine: '/quarantine', clone: '/branches/north/clone' });
        const cookies = await page.context().cookies();
        for (const [name, path] of Object.entries(pages)) {
            await visit.go(path);
            await visit.inspect(`phone-${name}`);
            const bytes = await visit.weight(path, cookies);
            must(bytes > 0 && bytes < LOAD_BYTES_MAX, `${path} takes ${bytes} bytes`);
        }
        await visit.go('/');
        await page.keyboard.press('Tab');
        must(await page.evaluate(() => document.activeElement.className === 'skip'), 'the first stop skips the menu');
        const update = row(page, 'north').getByRole('button', { name: 'Update north' });
        for (let stops = 0; !(await update.evaluate((button) => button === document.activeElement)); stops++) {
            must(stops < 40, 'the keyboard does not get to the button');
            await page.keyboard.press('Tab');
        }
        await page.keyboard.press('Enter');
        await page.getByRole('heading', { name: 'Done', exact: true }).waitFor();
        await visit.inspect('phone-run');
        await visit.go('/');
        await page.getByRole('button', { name: 'Update all' }).click();
        await page.getByRole('status').getByText('is being updated').waitFor();
        await row(page, 'south').getByText('In step').waitFor();
        await visit.end();
    },

    // the same work without scripts: links and forms
    async plain() {
        const visit = await Visit.begin(base, { javaScriptEnabled: false });
        const { page } = visit;
        await logIn(visit);
        await row(page, 'north').getByRole('link', { name: 'Clone north' }).click();
        await page.getByRole('link', { name: 'Show what it would send' }).click();
        await page.getByText('To the shop, by table').waitFor();
        await visit.go('/branches/north');
        await page.getByRole('link', { name: 'Verify' }).click();
        await page.getByText('Both sides agree about every table').waitFor();
        await visit.go('/');
        await row(page, 'north').getByRole('button', { name: 'Update north' }).click();
        const done = page.getByRole('heading', { name: 'Done', exact: true });
        for (const began = Date.now(); (await done.count()) === 0; ) {
            must(Date.now() - began < 60_000, 'the update does not end');
            await page.reload();
        }
        await page.getByRole('button', { name: 'Log out' }).click();
        await visit.go('/');
        must(page.url().endsWith('/login'), 'whoever has logged out is out');
        await visit.end();
    },
};

try {
    await scenes[scene]();
    process.exit(0);
} catch (error) {
    console.error(`${scene}: ${error.stack ?? error}`);
    process.exit(1);
}
