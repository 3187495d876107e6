"""A thousand comments with labels, half of them spam of the kinds that public reports of comment spam show.

Each is made of a template. Templates are dealt to two halves by a seed: `develop` is looked at while the checks are
written, `report` is what they are judged by; no template is in both.
"""

# ruff: noqa: E501 - a comment is a line, however long.

from __future__ import annotations

import random
import re
from dataclasses import dataclass, replace

from web.features.comments.spam import Sent


@dataclass(frozen=True, slots=True)
class Labelled:
    """A comment, whether it is spam, and of which kind."""

    sent: Sent
    is_spam: bool
    kind: str


# What stands in {braces} is one of these.
WORDS: dict[str, tuple[str, ...]] = {
    "badhost": (
        "lucky-spin77.bet/go",
        "bestslots.xyz/r/82",
        "www.megawin-casino.top",
        "promo24.click/x1",
        "health-meds365.com/buy",
        "rankboosters.io/plans",
        "topessay-help.net/order",
        "fundsrecall.org/start",
        "www.buyfollowers.shop",
        "kazino-zerkalo.su/reg",
        "dealsnow.info/p?id=12",
        "growyourtraffic.biz",
    ),
    "host": (
        "https://github.com/aio-libs/aiohttp/issues/4612",
        "https://docs.python.org/3/library/asyncio-task.html",
        "https://stackoverflow.com/a/37465521",
        "https://blog.jcoglan.com/2012/06/09/why-you-should-never-use-hash-functions-for-message-authentication/",
        "https://lwn.net/Articles/726917/",
        "https://redis.io/docs/data-types/streams/",
        "https://example.com/paste/1234",
        "https://www.sqlite.org/lang_upsert.html",
        "https://danluu.com/file-consistency/",
        "https://peps.python.org/pep-0703/",
    ),
    "game": ("slots", "roulette", "blackjack", "baccarat", "poker", "live casino games"),
    "casino": ("Lucky Spin Casino", "MegaWin", "BetKing", "1xGold", "Royal Jackpot"),
    "drug": ("Viagra", "Cialis", "tramadol", "Xanax", "Ozempic", "modafinil"),
    "illness": ("herpes", "diabetes", "hair loss", "erectile dysfunction", "HPV"),
    "person": ("Mark", "Dr. Williams", "Mrs Anna", "Captain Wizard", "Jack Lewis", "Cyber Genius"),
    "money": ("$85,000", "120,000 USDT", "2.4 BTC", "$14,500", "340k"),
    "phone": ("+1 (502) 555-0147", "+44 7700 900123", "+7 900 555-01-23", "+1 202 555 0188"),
    "mail": ("recover.funds@gmail.com", "cyberhelp@protonmail.com", "besthacker@outlook.com", "seo.expert@gmail.com"),
    "adjective": ("great", "amazing", "excellent", "awesome", "wonderful", "informative", "fantastic"),
    "topic": ("connection pooling", "long polling", "the event loop", "Redis streams", "page caching", "backpressure"),
    "tool": ("aiohttp", "Redis", "PostgreSQL", "nginx", "SQLAlchemy", "uvloop", "Django", "HAProxy", "Celery"),
    "version": ("3.11", "2.0.36", "7.2", "1.24", "0.21", "16.3"),
    "error": ("ConnectionResetError", "TimeoutError", "502 Bad Gateway", "IntegrityError", "MemoryError"),
    "number": ("3", "12", "40", "250", "1,500", "10k"),
    "subject": ("nursing", "law", "marketing", "history", "statistics"),
    "city": ("Dubai", "Mumbai", "London", "Lagos", "Houston"),
    "metal": ("faster", "slower", "more stable", "simpler", "harder to debug"),
}

# Kind: templates, and names that go with them. One that ends in | profits by the link of its name.
SPAM: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "gambling": (
        (
            "Play the best {game} at {casino} and get 200 free spins with no deposit! https://{badhost}",
            "I won {money} last night playing {game} on https://{badhost} you should try it, welcome bonus is huge",
            "Top online casino with real money {game}. Sign up here: https://{badhost} - 100% bonus on first deposit",
            "slot gacor hari ini maxwin situs judi slot online terpercaya daftar di https://{badhost}",
            "{casino} offers high odds on football and {game}. Place your bets now {badhost}",
            "Looking for a trusted bookmaker? {casino} pays out in minutes. Use promo code WIN500 at https://{badhost}",
            "Best betting site in 2026, jackpots every day, {game}, {game}. https://{badhost}",
            "link alternatif {casino} bandar togel resmi, rtp live tertinggi, daftar sekarang https://{badhost}",
            '<a href="https://{badhost}">{casino}</a> has the best {game} and daily jackpots',
            "[url=https://{badhost}]free spins no deposit[/url] {game} {casino}",
            "Hey friends 🎰🎰🎰 {casino} is giving a BIG bonus today 💰💰 don't miss it! {badhost}",
            "My uncle quit his job thanks to {casino}, he only plays {game} an hour each evening. {badhost}",
        ),
        ("{casino}", "Online Casino", "slot88", "Best Bets", "John", "winner2026", "situs slot", "Maria K"),
    ),
    "praise": (
        (
            "{adjective} post! I really enjoyed reading it. I will bookmark your blog and come back.|",
            "This is a very {adjective} article, thanks for sharing such useful information.|",
            "Wow, {adjective} blog layout! How long have you been blogging for? You make blogging look easy.|",
            "I stumbled upon this website and found your posts very helpful. Keep up the {adjective} work!|",
            "Thank you for sharing this {adjective} article. Waiting for your next post.|",
            "Hi there, I do believe your web site might be having browser compatibility issues, {adjective} blog though!|",
            "{adjective} information. Lucky me I came across your website by accident, I have bookmarked it for later!|",
            "Everything is very open with a really clear description of the issues. Your site is very useful. Thank you for sharing!|",
            "It's actually a {adjective} and useful piece of info. I'm glad that you just shared this helpful info with us.|",
            "Good day! This post could not be written any better! Reading it reminds me of my old room mate. I will forward it to him.|",
            "I every time spent my half an hour to read this blog's posts daily along with a mug of coffee.|",
            "Hello, always i used to check blog posts here early in the dawn, since i love to learn more and more.|",
        ),
        (
            "cheap flights",
            "SEO services {city}",
            "escort {city}",
            "best loans online",
            "plumber near me",
            "Buy backlinks",
            "vape shop",
            "Digital Marketing Agency",
            "Amit",
            "roofing company {city}",
            "Thomas",
        ),
    ),
    "medicine": (
        (
            "Buy {drug} online without prescription, overnight delivery, best price guaranteed https://{badhost}",
            "Cheap {drug} from a Canadian pharmacy. Discreet shipping worldwide. {badhost}",
            "I was cured of {illness} by {person} with herbal medicine. Contact him on WhatsApp {phone}",
            "{drug} generic 100mg pills, no rx needed, order now at https://{badhost}",
            "Are you suffering from {illness}? {person} has a natural cure that worked for me in two weeks, email {mail}",
            "lose 20 pounds in a month with keto gummies! {adjective} results, see https://{badhost}",
            "where can i order {drug} for cheap?? i found https://{badhost} they ship discreetly",
            "CBD gummies for pain and anxiety, 30% off with free shipping this week only: {badhost}",
            "My doctor would not give me {drug} so I got it here {badhost} no questions asked",
        ),
        ("Online Pharmacy", "Rita", "{drug} store", "healthylife", "Donald", "pharma24", "Susan P."),
    ),
    "ranking": (
        (
            "Your website could rank higher on Google. We offer SEO packages from $99. Contact {mail}",
            "I noticed your site is missing backlinks. We sell high DA dofollow links, guest posts and PBN. {badhost}",
            "Hi, do you accept guest posts or link insertions? We pay $50 per sponsored post. Write to {mail}",
            "Get 10,000 targeted visitors to your website, boost your traffic today: https://{badhost}",
            "We are a digital agency in {city}. Free SEO audit for your site, page one rankings guaranteed in 30 days.",
            "Buy quality backlinks at low cost, contextual links from authority domains, permanent. https://{badhost}",
            "Dear webmaster, would you be interested in a link exchange with our blog? Domain authority 54. {mail}",
            "Dear owner, your homepage ranks behind your rivals' for several keywords. Reply for a free proposal: {mail}",
            "We'd love to place our link in this article. What is your price for a permanent dofollow link?",
            "You can get more traffic with {number} social signals, cheap prices, {badhost}",
        ),
        ("SEO Expert", "Priya from RankUp", "linkbuilder", "Kevin", "Digital Growth Agency", "outreach team", "Neha"),
    ),
    "recovery": (
        (
            "I lost {money} to a fake investment platform, but {person} helped me recover all my funds. Email {mail}",
            "Contact {person} recovery expert if you were scammed, he got back my bitcoin in 48 hours. WhatsApp {phone}",
            "How I recovered my stolen crypto: I hired an ethical hacker at {mail}. Highly recommended, 100% legit.",
            "I invested $500 with {person} and earned {money} in a week. Message her on Telegram {phone}",
            "Need to recover lost wallet or hack a spouse's phone? {person} is the best hacker: {mail}",
            "I was devastated when my savings were gone. {person} and the team got every coin back. Reach them: {mail}",
            "Bitcoin trading signals with guaranteed profits, double your money in 7 days https://{badhost}",
            "Make {money} a month of passive income from home with our trading bot! Join Telegram t.me/fastprofit",
            "Thanks to {person} my account manager, I withdraw daily profit from forex. Text {phone}",
        ),
        ("Grace Miller", "Crypto Recovery", "{person}", "Henry", "Asset Recovery Agency", "James W", "Olivia"),
    ),
    "essays": (
        (
            "Need help with your {subject} essay? Professional writers, plagiarism free, any deadline. https://{badhost}",
            "I paid someone to write my {subject} dissertation and got an A+. Try https://{badhost}",
            "The best essay writing service for students: 24/7 support, 100% original papers. {badhost}",
            "do my homework cheap, {subject} assignment help from native writers {badhost}",
            "Students struggling with coursework can hire academic writers at {badhost}, top-quality research papers",
            "If a term paper in {subject} is keeping you up, these people saved my semester: https://{badhost}",
            "Take my online class for me: {subject} exams passed or your money back. Write {mail}",
        ),
        ("Essay Help", "EssayPro", "write my paper", "Linda", "Assignment Helper", "student99"),
    ),
    "Cyrillic casinos": (
        (
            "Лучшее онлайн казино 2026, бонус за регистрацию без депозита, фриспины https://{badhost}",
            "Рабочее зеркало казино, игровые автоматы на деньги, вывод за 5 минут {badhost}",
            "Ставки на спорт, букмекерская контора с бонусом 25000 рублей. Переходи: https://{badhost}",
            "Займ на карту без отказа за 5 минут, без справок и проверки кредитной истории https://{badhost}",
            "Купить диплом недорого с доставкой, все вузы, заказать на сайте {badhost}",
            "Играй в слоты и получай джекпот каждый день! промокод WIN на {badhost}",
            "Кaзинo c быстрым вывoдoм, бeздeпoзитный бoнус для нoвых игpoкoв {badhost}",
            "Вчера выиграл 300 тысяч в рулетку, всем советую этот сайт https://{badhost}",
            "Взять кредит онлайн без проверки, оформить микрозайм круглосуточно {badhost}",
        ),
        ("Вулкан казино", "Виктор", "ставки онлайн", "Kazino", "Елена", "займ24"),
    ),
    "goods": (
        (
            "Replica Rolex and Louis Vuitton bags, 80% off, free shipping worldwide https://{badhost}",
            "Buy real Instagram followers and YouTube views, cheap and instant delivery {badhost}",
            "Beautiful escorts in {city} available 24/7, call girls at your door, visit us https://{badhost}",
            "Best IPTV subscription, 20,000 channels, discount this week only. Order now: https://{badhost}",
            "Buy real passports, driver's licence and ID cards registered in the database. WhatsApp {phone}",
            "Hot singles in your area want to meet you tonight, click here {badhost}",
            "Payday loans with bad credit, instant approval, no credit check. Apply now at https://{badhost}",
            "Business funding at low interest rates of 2%, loans up to $5m. Contact Mr Adams at {mail}",
            "Windows 11 key for $9 and Office lifetime licence, cheapest price on the web https://{badhost}",
        ),
        ("Fashion Outlet", "Sofia", "Quick Loans", "deals4u", "Mr Adams", "buy followers", "Lucy"),
    ),
    "hidden": (
        (
            "Bе\u200bst са\u200bsi\u200bnо bo\u200bnus оnline, frее spins fоr еvеryоne https://{badhost}",
            "B\u200bu\u200by V\u200bi\u200ba\u200bg\u200br\u200ba o\u200bn\u200bl\u200bi\u200bn\u200be at https://{badhost}",
            "Gr\u00adeat ar\u00adti\u00adcle, ch\u00adeap lo\u00adans here: {badhost}",
            "Visit \u202emoc.onisac-tseb//:sptth\u202c for your welcome bonus",
            "𝗘𝗮𝗿𝗻 𝗺𝗼𝗻𝗲𝘆 𝗳𝗿𝗼𝗺 𝗵𝗼𝗺𝗲 with {casino} {badhost}",
            "Іnvеst іn сryрtо аnd еаrn {money} dаily, guаrаntееd https://{badhost}",
            "Nice\u2060 post\u2060, please\u2060 see\u2060 my page\u2060 {badhost}",
            "Сhеар {drug}, nо рrеsсriрtiоn, wоrldwidе {badhost}",
            "Тор rаtеd еssаy wrіtіng sеrvісе https://{badhost}",
        ),
        ("Аdmin", "Mаrk", "J\u200bane", "Suppоrt", "Tom", "pеter"),
    ),
}

GOOD: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "technical": (
        (
            "We saw the same {error} after moving to {tool} {version}. Turning keep-alive off between the proxy and the app cured it.",
            "Did you measure that with {number} connections or more? In my tests {topic} only mattered past {number} clients.",
            "One thing to add: {tool} {version} changed the default here, so the second example no longer works as written.",
            "I disagree about {topic}. A queue with an end is enough, and it is {metal} than what you describe.",
            "Typo in the third paragraph: it says {tool} where you mean {tool}, I think.",
            "What happens to {topic} when a worker is killed in the middle of it? We lost {number} rows that way last year.",
            "This bit us in production. The {error} came from a DNS timeout, not from {tool} at all.",
            "Is there a reason you didn't use {tool} for this? We've run it for {number} months and it has been {metal} than expected.",
            "Ran your benchmark on a Raspberry Pi 4: {number} requests a second with {tool}, about a third without.",
            "Small correction: since {tool} {version} the timeout is per read, so your retry would double the load.",
            "How would you test that? We gave up on {topic} because nobody could write a test for it that fails.",
            "Thanks for writing this up. The diagram of {topic} finally made it click for me.",
            "I'd love a follow-up on how this behaves behind {tool}. Buffering there made our events arrive in bursts.",
            "The part about {topic} is wrong for IPv6: the address you log has a zone in it.",
        ),
        (
            "Anna",
            "Jens",
            "mrdoob_fan",
            "Priyanka",
            "K. Ito",
            "tobias",
            "Łukasz",
            "Zoë",
            "dave",
            "Wei",
            "O'Brien",
            "Søren",
        ),
    ),
    "links": (
        (
            "There is an issue about this: {host}",
            "See {host} for why the order matters.",
            "I wrote about the same problem with {tool} a while ago: {host}. The numbers are a bit old now.",
            "Related reading: {host} and {host}",
            "The docs say otherwise, {host}, but I believe they are out of date since {version}.",
            "My fork with the fix is at {host}, if anybody wants to try it. It passes the tests with {tool} {version}.",
            "{host} has a longer explanation of {topic}, with measurements.",
            "Here's the trace I get: {host} It ends with {error}, and I have no idea why.",
            "Does anyone know whether {host} is still being worked on? The last commit is from two years ago.",
        ),
        ("Marta", "ben", "Hiroshi", "gopher42", "C. Schulz", "Noor", "alexey", "Elena"),
    ),
    "code": (
        (
            "This works for me:\n\n```python\nasync with session.get(url) as answer:\n    return await answer.json()\n```\n\non {tool} {version}.",
            "You can shorten that to `asyncio.gather(*tasks, return_exceptions=True)`, and then look at what came back.",
            'I get\n\n    Traceback (most recent call last):\n      File "app.py", line 12\n    {error}\n\nwith {tool}. Any idea?',
            "Try `SET lock 1 NX PX 30000` and delete it by a script that compares the value first.",
            "`git bisect` says it broke in {version}. The line is `if a[i] < b[j] && !done(c)`.",
            "In nginx it is\n\n```\nproxy_buffering off;\nproxy_read_timeout 1h;\n```\n\nand a reload, nothing else.",
            "SQL for the lazy:\n\n```sql\nSELECT * FROM posts ORDER BY id DESC LIMIT 10;\n```",
            'What does `<a href="x">` do here? I copied `[url]` from the docs and it shows as text.',
        ),
        ("Sam", "nils", "Ioana", "rustacean", "Pedro", "lee", "Fatima"),
    ),
    "short": (
        (
            "Thanks, that helped!",
            "Thank you, exactly what I needed.",
            "Great post, thanks.",
            "Worked for me on {version}, thanks!",
            "+1",
            "Nice write-up, saved me an afternoon.",
            "LOL, been there.",
            "Same here.",
            "Very helpful, thank you!",
            "Brilliant. Any plans for a part two?",
            "👍",
            "First!",
            "Good article. Bookmarked for when I get to {topic}.",
        ),
        ("Tim", "ana", "J", "visitor", "Ola", "Mike", "小林", "Kees"),
    ),
    "other languages": (
        (
            "Danke für den Artikel! Bei uns lief {tool} {version} erst nach dem Umstellen der Zeitlimits stabil.",
            "Merci beaucoup, c'est très clair. Une question : que se passe-t-il si le serveur redémarre pendant l'envoi ?",
            "Gracias por la explicación. En mi caso el problema era la versión de {tool}.",
            "Спасибо, очень полезная статья. А как это работает с {tool} {version}? У нас падает с {error}.",
            "У меня та же ошибка после обновления. Помогло увеличить время ожидания на прокси.",
            "とても参考になりました。{tool} のバージョンは何を使っていますか？",
            "写得很好，我们在生产环境中也遇到了同样的问题，最后换成了 {tool}。",
            "مقاله\u200cی خوبی بود، می\u200cشود درباره\u200cی {tool} هم بنویسید؟",
            "شكرا على المقال، هل جربت ذلك مع {tool}؟",
            "תודה רבה, עזר לי מאוד. מה קורה כשהשרת נופל?",
            "Bardzo dobry wpis, dzięki. Czy próbowałeś tego z {tool}?",
            "Hvala, ovo mi je uštedjelo cijeli dan.",
            "Ευχαριστώ πολύ για το άρθρο! Πώς το δοκιμάσατε με {tool};",
            "बहुत अच्छा लेख है, धन्यवाद।",
        ),
        ("Jürgen", "Hélène", "Иван", "Ольга", "佐藤", "王伟", "رضا", "דנה", "Νίκος", "Paweł", "María", "प्रिया"),
    ),
    "near the mark": (
        (
            "I maintain the back end of an online betting site, and {topic} is our whole day. {number} odds updates a second.",
            "We run {tool} for a pharmacy chain, about {number} orders an hour, and never saw a {error}.",
            "Does the canonical link hurt SEO if the page is cached for a minute? Asking for a client.",
            "Bitcoin nodes have the same problem with {topic}: a slow peer holds memory for everybody.",
            "My students had this as an assignment; most of them used {tool} and failed on the time-outs.",
            "How much did this cost to run? We pay {number} dollars a month for {tool} and it feels too much.",
            "I recovered our data from a backup after this, but lost {number} rows. Test your backups, people.",
            "The best post on {topic} I've read, and I have read the {tool} source. Where can I subscribe?",
            "WE LOST THE WHOLE TABLE because of exactly this!!! Read the part about {topic} twice.",
            "Jag köpte boken du nämner, mycket bra. Kapitlet om {topic} är värt priset.",
            "Your site's feed is broken for me: the reader says the date of the newest entry is invalid.",
            "Is μservice the right word here? Δt is {number} ms in our traces and rises with every hop.",
            "I came across your blog through Hacker News and have read half of it today. Any plans to cover {tool}?",
        ),
        ("Karin", "Raj", "ops_person", "Emil", "Teacher Tom", "B. Novak", "yuki", "Carlos"),
    ),
}

_SLOT = re.compile(r"\{(\w+)\}")


def _filled(template: str, dice: random.Random) -> str:
    return _SLOT.sub(lambda slot: dice.choice(WORDS[slot[1]]) if slot[1] in WORDS else slot[0], template)


def _halves(templates: tuple[str, ...], seed: str) -> tuple[list[str], list[str]]:
    dealt = list(templates)
    random.Random(seed).shuffle(dealt)
    half = (len(dealt) + 1) // 2
    return dealt[:half], dealt[half:]


def _spam(half: int, count: int, dice: random.Random) -> list[Labelled]:
    made = []
    for number in range(count):
        kind = list(SPAM)[number % len(SPAM)]
        templates, names = SPAM[kind]
        text, linked, _ = _filled(dice.choice(_halves(templates, kind)[half]), dice).partition("|")
        name = _filled(dice.choice(names), dice)
        # Most are sent by people or by programs that take their time, and fill in what is seen.
        by_program = dice.random() < 0.25
        sent = Sent(
            name=name,
            text=text[:1].upper() + text[1:],
            link=f"https://{dice.choice(WORDS['badhost'])}" if dice.random() < 0.3 else "",
            hidden="x" if by_program and dice.random() < 0.4 else "",
            age=dice.uniform(0.3, 3) if by_program else dice.uniform(5, 600),
            by_address=dice.choice((0, 0, 0, 1, 3)),
            by_visitor=dice.choice((0, 0, 0, 1)),
        )
        # Praise lives by its name: one that sells, or one with a link.
        if linked and not sent.link and name in ("Amit", "Thomas"):
            sent = replace(sent, link="https://" + dice.choice(WORDS["badhost"]))
        made.append(Labelled(sent, True, kind))
    return made


def _good(half: int, count: int, dice: random.Random) -> list[Labelled]:
    made = []
    for number in range(count):
        kind = list(GOOD)[number % len(GOOD)]
        templates, names = GOOD[kind]
        text = _filled(dice.choice(_halves(templates, kind)[half]), dice)
        sent = Sent(
            name=dice.choice(names),
            text=text,
            link="https://some.blog.example" if dice.random() < 0.1 else "",
            age=dice.uniform(4, 900) if dice.random() < 0.97 else dice.uniform(90_000, 200_000),
            by_address=dice.choice((0, 0, 1, 2, 6)),
            by_visitor=dice.choice((0, 0, 1, 2)),
            good=dice.choice((0, 0, 0, 1, 5)),
        )
        made.append(Labelled(sent, False, kind))
    return made


def _thousand(half: int, seed: int) -> list[Labelled]:
    dice = random.Random(seed)
    made = _spam(half, 500, dice) + _good(half, 500, dice)
    dice.shuffle(made)
    return made


def develop() -> list[Labelled]:
    """The comments that the checks were written with."""
    return _thousand(0, 20_261)


def report() -> list[Labelled]:
    """The comments that the checks are judged by, which they were not written with."""
    return _thousand(1, 20_262)
