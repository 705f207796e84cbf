"""Words of more languages than the injection lexicon has, read as the English words they mean.

Polish, Czech, Russian, Ukrainian, Turkish, Swedish with Danish and Norwegian, Hungarian, Romanian,
Indonesian, Greek, Chinese, Japanese, Korean, Hindi and Arabic: what is said to a model, and the
business that it is told apart by. What is learnt of English sentences so holds for them too.
"""

# ruff: noqa: E501, RUF001 - letters of other scripts, which count as wide, are what this is about

import re
from functools import lru_cache

from ai.guards.normalise import scored

# Beginnings of words, in scripts that put spaces between them.
_STEMS = {
    "ignore": """
        zignoruj zignorow ignoruj ignorow pomin zapomnij zlekcewaz odrzuc ignorovat
        nevsimej zapomen игнорир проигнорир пренебре забуд забыть игноруи проигноруи
        ігнору проігнору забудь відкин yoksay gormezden unut dikkate ignorera bortse
        glom ignorer glem felejts hagyd ignorati abaikan lupakan αγνοησ ξεχασ
    """,
    "previous": """
        poprzedn wczesniejsz powyzsz dotychczas predchoz drivejs predesl vyse предыдущ
        прежн предшеств выше ранее попередн раніше вище onceki yukaridaki tidigare
        foregaende ovan tidligere forrige ovenfor korabbi elozo fenti anterioare
        precedentele sebelum sebelumnya διασ προηγουμεν παραπανω
    """,
    "instructions": """
        polecen instrukc zasad wytyczn rozkaz pokyn instrukt prikaz pravid инструкц
        указан правил команд приказ інструкц вказів talimat kural yonerge komut
        instruktion instrukser instruks anvisning regler reglerna utasitas szabaly
        instructiunil reguli instruksi perintah οδηγι εντολ κανον
    """,
    "prompt": "промпт запит systemprompt istem προτροπ podpowiedz",
    "all": """
        wszystk wszelk kazd vsechn veskere всех всем всю весь кажд все усі всі кожн tum
        butun minden osszes toate semua seluruh ολεσ ολα ολουσ kazda kazde kazdy kazdou
        vsem
    """,
    "answer": """
        odpowiedz odpowiad odpoved odpovez odpovid ответ отвеч відповід відповіс cevap
        yanit svara svaret svar valasz raspuns jawab απαντη odpow
    """,
    "summary": """
        podsumowan streszczen streszcz shrnut souhrn резюм сводк краткое пересказ підсум
        ozet sammanfatt sammendrag osszefogl rezumat ringkasan rangkuman περιληψ ozetin
        ozette ozetini ozetle ozetinde
    """,
    "only": """
        tylko wylacznie jedynie pouze jenom jedine только лишь исключительн тільки лише
        sadece yalnizca endast bara kun csak doar numai hanya μονο
    """,
    "write": """
        napisz wypisz zapisz napis vypis напиш выпиш напис пиши виведи yaz skriv irj
        scrie tulis γραψ yazin yaziniz yazma
    """,
    "say": """
        powiedz rekni скаж говор сообщи кажи söyle soyle deyin sig mondd spune katakan
        πεσ πειτε soylem soyleyin deyiniz
    """,
    "show": """
        pokaz wyswietl ujawnij wyjaw zdradz podaj ukaz zobraz odhal покаж вывед раскро
        выдай розкри goster ifsa paylas avsloja vis afslor mutasd fedd afiseaza
        tampilkan tunjukkan δειξ αποκαλυψ
    """,
    "repeat": """
        powtorz zopakuj повтор tekrarla upprepa gentag ismeteld repeta ulangi επαναλαβ
    """,
    "add": """
        dodaj dolacz wstaw umiesc pridej vloz добав вставь включи упомян додай встав
        ekle dahil lagg tilfoj inkludera inkluder illessz adauga tambahkan sertakan
        masukkan προσθεσ ekleyin ekleme
    """,
    "mention": """
        wspomn wspominaj wymien zmin zminuj упомин згада bahset namn naevn emlits
        mentioneaza sebutkan αναφερ
    """,
    "send": """
        wyslij przeslij posli odesli отправ перешли пришли надішли відправ gonder skicka
        kuldd trimite kirim στειλ
    """,
    "translate": """
        przetlumacz preloz перевед переклад cevir oversatt oversaet forditsd tradu
        terjemahkan μεταφρασ
    """,
    "your": """
        twoj twoje twoja twoich swoj swoje swoja tvoj tvuj tve svou tvou твой твои твое
        твоих твою свой свои своем своих свою ваш твоі своі senin ditt
    """,
    "you": "jestes jsi ty ты вы ти siz teged kamu εισαι",
    "now": """
        teraz odtad nyni odted теперь отныне тепер відтепер artik simdi mostantol acum
        sekarang mulai τωρα
    """,
    "instead": "zamiast namisto вместо замість yerine istallet stedet helyett ehelyett αντι",
    "password": "haslo hasla heslo hesla парол sifre losenord jelszo κωδικο",
    "secret": """
        tajn poufn sekret tajemn duvern секрет тайн конфиденц секретн конфіденц gizli
        hemlig hemmelig titkos secretul rahasia μυστικ tajne tajny tajna tajnych
    """,
    "system": "систем sistem rendszer sistemul συστημ systemu systemow systemet systemowy",
    "assistant": """
        asystent asistent ассистент помощник асистент помічник asistan asszisztens
        asisten βοηθ
    """,
    "model": "модел modell μοντελο",
    "AI": "ии ші yapay mesterseges искусственн штучн sztuczn umela",
    "user": """
        uzytkownik uzivatel пользовател користувач kullanici anvandar bruger felhasznalo
        utilizator pengguna χρηστ
    """,
    "customers": """
        klient клиент клієнт musteri ugyfel pelanggan πελατ kunder kunderna kunders
        kundens
    """,
    "data": "dane danych udaje данны данные дані adat datele δεδομεν",
    "pretend": """
        udawaj zachowuj predstirej притвор прикинь удавай davran latsas tegyel berpura
        προσποι
    """,
    "do not": "neni нельзя degil inte ikke jangan μην nemluv",
    "mail": """
        wiadomosc dopis письм сообщен лист повідомлен mesaj eposta meddelande besked
        uzenet mesajul surat μηνυμ mejl mejlet
    """,
    "text": "tekst tresc текст metin szoveg teks κειμεν",
    "poem": "wiersz стих вірш siir dikt puisi ποιημα",
    "question": """
        pytanie pytan otazk вопрос питан soru fraga sporgsmal kerdes intrebare
        pertanyaan ερωτησ
    """,
    "please": """
        prosze prosim пожалуйста прошу будь ласка lutfen snalla venligst kerem kerjuk
        tolong mohon παρακαλ
    """,
    "invoice": "faktur счет рахунок fatura szamla τιμολογ",
    "order": """
        zamowien objednavk заказ замовлен siparis bestallning ordre rendeles comanda
        pesanan παραγγελ
    """,
    "delivery": """
        dostaw dodavk dodan доставк teslimat leverans levering szallitas livrare
        pengiriman παραδοσ
    """,
    "contract": """
        umow smlouv smlouva договор контракт договір sozlesme avtal kontrakt szerzodes
        kontrak συμβολ
    """,
    "payment": """
        platnos platb оплат платеж платіж odeme betalning betaling fizetes pembayaran
        πληρωμ
    """,
    "meeting": """
        spotkan schuzk встреч зустріч toplanti talalkozo intalnire rapat συναντησ motet
        moedet
    """,
    "thanks": "dziekuj dekuj спасибо дякую tesekkur koszon multumesc terima ευχαριστ",
    "regards": """
        pozdrawiam pozdravem уважением повагою saygilar halsningar hilsen udvozlettel
        hormat
    """,
}

# Anywhere, in scripts that put none, or whose words get particles on either side.
_INSIDE = {
    "ignore": """
        忽略 忽视 无视 不理会 不要理会 忘记 忘掉 抛开 忽略 無視 忘れ 従わない 무시 잊어 अनदेखा नज़रअंदाज़ भूल ध्यान_न
        تجاهل انس اهمل أهمل
    """,
    "previous": """
        之前 以前 先前 上述 以上 上面 前面 此前 これまで 前の 上記 以前の 이전 위의 앞의 기존 पिछले पूर्व ऊपर سابق السابقة
        السابق أعلاه السابقه
    """,
    "instructions": """
        指令 指示 说明 規則 规则 提示 命令 ルール 指図 지시 명령 규칙 지침 निर्देश आदेश नियम التعليمات تعليمات
        الأوامر اوامر القواعد أوامر
    """,
    "prompt": "提示词 プロンプト 프롬프트 प्रॉम्प्ट الموجه",
    "all": "所有 全部 一切 任何 すべて 全て 全ての 모든 전부 सभी सारे सब جميع كل كافة",
    "answer": "回答 回复 答复 回覆 答案 返答 返信 応答 답변 대답 응답 회신 उत्तर जवाब الرد رد أجب اجب إجابة الإجابة",
    "summary": "摘要 总结 概括 總結 要約 まとめ 요약 सारांश ملخص الملخص تلخيص",
    "only": "只 仅 只需 僅 だけ のみ 오직 केवल सिर्फ فقط",
    "write": "写 寫 输出 輸出 書いて 書け 出力 쓰 작성 출력 लिखो लिखें लिखिए اكتب",
    "say": "说 告诉 説 言って 言え 말해 말하 कहो बताओ कहें قل أخبر",
    "show": "显示 透露 泄露 展示 顯示 表示 見せ 明か 教えて 보여 공개 알려 दिखाओ दिखाएं प्रकट أظهر اعرض اكشف",
    "repeat": "重复 重複 繰り返 반복 दोहरा كرر",
    "add": "添加 加入 插入 附上 追加 挿入 추가 삽입 포함 जोड़ शामिल أضف اضف أدرج",
    "mention": "提及 提到 言及 触れ 언급 उल्लेख اذكر تذكر",
    "send": "发送 发给 發送 转发 送信 送って 転送 보내 전송 भेज أرسل ارسل",
    "translate": "翻译 翻譯 翻訳 번역 अनुवाद ترجم",
    "your": "你的 您的 あなたの 너의 당신의 आपके आपका आपकी अपने अपना",
    "you": "你 您 あなた お前 너는 당신 तुम आप أنت انت",
    "now": "现在 從現在 从现在 今から これから 지금 이제 अब الآن",
    "instead": "代わりに 而是 대신 बजाय बدلا بدلاً",
    "password": "密码 密碼 パスワード 비밀번호 암호 पासवर्ड كلمة_المرور كلمة_السر",
    "secret": "秘密 机密 機密 内部 비밀 기밀 गुप्त गोपनीय سري سرية",
    "system": "系统 系統 システム 시스템 सिस्टम النظام",
    "assistant": "助手 アシスタント 어시스턴트 비서 सहायक المساعد مساعد",
    "model": "模型 モデル 모델 मॉडल النموذج",
    "AI": "人工智能 人工知能 인공지능 एआई الذكاء_الاصطناعي",
    "user": "用户 ユーザー 사용자 उपयोगकर्ता المستخدم",
    "customers": "客户 顧客 お客様 고객 ग्राहक العملاء العميل",
    "data": "数据 データ 데이터 डेटा البيانات",
    "pretend": "假装 扮演 ふり 装って 척해 역할 बहाना تظاهر",
    "do not": "不要 不得 请勿 请不要 しないで 하지_마 मत न_करें لا",
    "mail": "邮件 电子邮件 信件 メール 메일 이메일 ईमेल संदेश البريد الرسالة رسالة",
    "question": "问题 質問 질문 प्रश्न सवाल السؤال سؤال",
    "please": "请 請 ください 주세요 주십시오 कृपया من_فضلك يرجى",
    "invoice": "发票 發票 請求書 청구서 चालान इनवॉइस الفاتورة فاتورة",
    "order": "订单 訂單 注文 주문 ऑर्डर الطلب طلبي",
    "delivery": "交货 发货 送货 配送 納期 배송 डिलीवरी التسليم الشحنة",
    "contract": "合同 契約 계약 अनुबंध العقد",
    "payment": "付款 支付 支払 결제 भुगतान الدفع",
    "meeting": "会议 会議 打ち合わせ 회의 बैठक الاجتماع",
    "thanks": "谢谢 感谢 ありがとう お世話 감사 धन्यवाद شكرا",
}

_LETTERS = re.compile(r"[^\W\d_]{2,}")
# Also as they are: scored() reads Cyrillic letters as Latin in a word that has no others.
_BEGUN = {
    form: english
    for english, stems in _STEMS.items()
    for stem in stems.split()
    for form in (stem, scored(stem))
}
# Shorter ones are whole words: other languages have words that begin so.
_FEWEST, _FEWEST_LATIN = 4, 5
_LONGEST = max(map(len, _BEGUN))
_WITHIN = {
    scored(term.replace("_", " ")): english
    for english, terms in _INSIDE.items()
    for term in terms.split()
}
_ANY = re.compile("|".join(map(re.escape, sorted(_WITHIN, key=len, reverse=True))))
_OTHER_SCRIPT = re.compile("[\u0600-\u06ff\u0900-\u097f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


def glossary() -> dict[str, str]:
    """Its words and beginnings of words, with the English one of each."""
    return {**_BEGUN, **_WITHIN}


def in_english(sentence: str) -> str:
    """The sentence with those of its words in English that the glossary has, in their order.

    sentence: as scored() gives it.
    """
    if _OTHER_SCRIPT.search(sentence):
        sentence = _ANY.sub(lambda term: f" {_WITHIN[term[0]]} ", sentence)
    return _LETTERS.sub(lambda word: _word(word[0]), sentence)


@lru_cache(maxsize=50_000)
def _word(word: str) -> str:
    if word in _BEGUN:
        return _BEGUN[word]
    fewest = _FEWEST_LATIN if word.isascii() else _FEWEST
    for end in range(min(len(word), _LONGEST), fewest - 1, -1):
        if word[:end] in _BEGUN:
            return _BEGUN[word[:end]]
    return word
