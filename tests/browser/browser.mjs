// A real browser, and what every page of the console has to be: reachable, readable, light, and quiet in the log.
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, join } from 'node:path';
import { chromium } from 'playwright-core';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
// generous: only a test that fails waits that long
export const PATIENCE = 60_000;
export const LOAD_BYTES_MAX = 100_000;
const shots = process.env.SYNC_SCREENSHOTS;

// The driver wants a path, not a name.
function found(name) {
    return process.env.PATH.split(delimiter).map((dir) => join(dir, name)).find(existsSync) ?? name;
}

export function must(condition, what) {
    if (!condition) throw new Error(what);
}

export class Visit {
    static async begin(base, options = {}) {
        const browser = await chromium.launch({
            executablePath: found(process.env.SYNC_CHROMIUM ?? 'chromium'),
            args: ['--no-sandbox', '--disable-dev-shm-usage'],
        });
        const visit = new Visit();
        Object.assign(visit, { base, browser, complaints: [], options });
        visit.page = await visit.open(options);
        return visit;
    }

    // A page of its own, as another person's browser would have it.
    async open(options) {
        const context = await this.browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
        const page = await context.newPage();
        page.setDefaultTimeout(PATIENCE);
        page.on('console', (message) => {
            // a stream of events that ends because its page is left, and answers that a scene asks for
            const expected = /^\[object Event\]$|status of (400|401|404|422)/.test(message.text());
            if (['error', 'warning'].includes(message.type()) && !expected) this.complaints.push(message.text());
        });
        page.on('pageerror', (error) => this.complaints.push(error.message));
        page.on('request', (request) => {
            if (!request.url().startsWith(this.base)) this.complaints.push(`a request to ${request.url()}`);
        });
        return page;
    }

    async go(path, page = this.page) {
        await page.goto(this.base + path, { waitUntil: 'load' });
    }

    // Fails with every rule of WCAG 2.2 AA that the page breaks, in light and dark; keeps a picture where one is wanted.
    async inspect(name, page = this.page, whole = false) {
        for (const scheme of ['light', 'dark']) {
            await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' });
            await page.evaluate(axe);
            // what the scheme decides about is contrast
            const only =
                scheme === 'dark'
                    ? { type: 'rule', values: ['color-contrast'] }
                    : { type: 'tag', values: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] };
            const found = await page.evaluate((runOnly) => window.axe.run(document, { runOnly }), only);
            const broken = found.violations.map(
                (rule) => `${rule.id}: ${rule.nodes.map((node) => `${node.target} ${node.failureSummary}`).join('; ')}`,
            );
            must(broken.length === 0, `${name}, ${scheme}: ${broken.join('\n')}`);
            if (shots) await page.screenshot({ path: `${shots}/${name}-${scheme}.png`, fullPage: whole });
        }
        await page.emulateMedia({ colorScheme: 'light', reducedMotion: 'reduce' });
        const over = await page.evaluate(
            () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
        );
        must(over <= 0, `${name}: scrolls sideways by ${over} pixels`);
    }

    // Bytes that a first visit to a page takes.
    async weight(path, cookies = []) {
        const context = await this.browser.newContext();
        await context.addCookies(cookies);
        const page = await context.newPage();
        const protocol = await context.newCDPSession(page);
        let bytes = 0;
        await protocol.send('Network.enable');
        protocol.on('Network.loadingFinished', (event) => (bytes += event.encodedDataLength));
        await page.goto(this.base + path, { waitUntil: 'load' });
        await context.close();
        return bytes;
    }

    async end() {
        await this.browser.close();
        must(this.complaints.length === 0, `the browser complained: ${this.complaints.join('\n')}`);
    }
}
