"""What kind of answer a question wants (a price, a time, a place …), and which sentences hold one."""

import re


def asked_kinds(question: str) -> frozenset[str]:
    return _kinds(_ASKED, question)


def told_kinds(sentence: str) -> frozenset[str]:
    return _kinds(_TOLD, sentence)


# A sentence with a price speaks of costs without the word, one with a street speaks of a place.
CONCEPT_OF_KIND = {"price": "cost", "duration": "wait", "time": "hours", "place": "location", "contact": "contact"}


def _kinds(patterns: dict[str, re.Pattern[str]], text: str) -> frozenset[str]:
    return frozenset(kind for kind, pattern in patterns.items() if pattern.search(text))


def _any(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(alternatives), re.IGNORECASE)


_ASKED = {
    "price": _any(
        r"how (?:much|expensive)|what.{0,12}cost|\bprices?\b",
        r"combien (?:co[uû]te|[cç]a|est)|co[uû]te?\b|\bprix\b|\btarifs?\b",
        r"wie ?viel|wie teuer|was kostet|preise?\b|kosten",
        r"cu[aá]nto (?:cuesta|vale|cobran|es)|precios?\b|quanto (?:cust|cost|è|viene)|prezz[oi]\b|preços?\b",
        r"hoeveel|wat kost|prijs",
        r"сколько стоит|цен[аы]\b|стоимость|多少钱|价格|费用|いくら|料金|値段",
    ),
    "duration": _any(
        r"how (?:long|many (?:business |working )?(?:days|weeks|hours)|fast|quickly|soon)",
        r"combien de (?:temps|jours)|d[eé]lai|wie (?:lange|schnell|viele tage)",
        r"cu[aá]nto (?:tiempo|tarda|dura)|cu[aá]ntos d[ií]as|quanto (?:tempo|dura|demora|ci vuole)|quantos dias",
        r"quanti giorni|hoe ?(?:lang|snel|veel dagen)",
        r"сколько (?:времени|дней)|как долго|多久|多长时间|几天|どのくらい|何日",
    ),
    "time": _any(
        r"\bwhen\b|what time|\bhours\b|\bopen|\bquand\b|quelle heure|horaire|ouvert|\bwann\b|uhr|öffnung|geöffnet",
        r"cu[aá]ndo|\bhoras?\b|abiert|\bquando\b|che ora|orari|\bapert|abert|wanneer|hoe laat",
        r"когда|во сколько|часы|几点|什么时候|营业|何時|いつ|営業",
    ),
    "place": _any(
        r"\bwhere\b|address|located|\boù\b|adresse|\bwo\b|\bd[oó]nde\b|direcci[oó]n|\bdove\b|indirizzo",
        r"\bonde\b|morada|endere[cç]o|\bwaar\b|\badres\b|\bгде\b|адрес|哪里|在哪|地址|どこ|住所",
    ),
    "contact": _any(
        r"e-?mail|phone|\bcall\b|contact|reach|appeler|joindre|t[eé]l[eé]fono?|anruf|erreich|kontakt",
        r"llamar|correo|chiamare|contat|ligar|\bbellen\b|bereik",
        r"телефон|позвонить|связаться|почт|电话|联系|邮箱|電話|連絡|メール",
    ),
}
_ASKED["count"] = _any(
    r"how many|combien d(?!e temps)|wie ?viele|cu[aá]nt[oa]s|quant[ie]\b|quant[oa]s\b|hoeveel",
    r"сколько|多少|几|いくつ|何(?:個|台|人)",
)
_UNIT_OF_TIME = (
    r"(?:minut|hour|day|week|month|year|heure|jour|semaine|mois|stunde|tag|werktag|woche|monat|d[ií]a|hora|semana|mes"
    r"|giorn|settiman|ore|dag|werkdag|uur|weken|maand|мин|час|дн|недел|天|小时|个月|日|時間|週間)"
)
_NUMBER = (
    r"(?:\d|\b(?:one|two|three|four|five|ten|deux|trois|cinq|dix|zwei|drei|f[uü]nf|zehn|dos|tres|cinco|due|tre|cinque|dois|duas"
    r"|tr[eê]s|twee|drie|vijf|tien|две|два|три|пять)\b|[一二两三五十])"
)
_TOLD = {
    "price": _any(
        r"[€$£¥₽]|\b(?:eur|euros?|usd|chf|gbp|dollars?|francs?|pounds?|руб)\b|元|円",
        r"\bfree\b|gratis|gratuit|kostenlos|бесплатн|免费|無料",
    ),
    "duration": _any(rf"{_NUMBER}[\d\s–-]*(?:to|à|bis|a|tot|до)?\s*\d*\s*(?:(?:business|working)\s+)?{_UNIT_OF_TIME}"),
    "time": _any(r"\d{1,2}\s?[:.h]\s?\d{2}|\d{1,2}\s?(?:am|pm|a\.m|p\.m|uhr|h\b|uur|час|点|時)|24/7"),
    "place": _any(
        r"\b[^\W\d]\w+\s\d{1,4}[a-z]?,\s*\d{4,5}\b|\b\d{5}\s+[^\W\d]{3,}|\bstreet\b|\bst\.|\broad\b|avenue|square|\brue\b|stra(?:ß|ss)e|\bplatz\b|calle|plaza",
        r"\bvia\b|piazza|\brua\b|straat|ул\.",
    ),
    "count": _any(r"\d{2,}"),
    "contact": _any(r"\S+@\S+\.\w+|\+?\d[\d\s()/.-]{6,}\d"),
}
